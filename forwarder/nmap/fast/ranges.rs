//! Port lists in nmap's notation, as forwarder/nmap/ranges.py writes them.

use crate::json::{print, Out};

/// Write ports, in any order, as a port list.
pub fn write(numbers: &[u16], out: &mut Out) {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut rest = &sorted[..];
    while let [first, ..] = *rest {
        let run = rest.iter().zip(first..).take_while(|(&number, expected)| number == *expected).count();
        part(first, rest[run - 1], out);
        rest = &rest[run..];
    }
    end(out);
}

/// Write a port list, which is in ascending order, without some ports.
pub fn without(whole: &[u8], numbers: &[u16], out: &mut Out) {
    let mut gone = numbers.to_vec();
    gone.sort_unstable();
    gone.dedup();
    let mut gone = &gone[..];
    for written in whole.split(|&byte| byte == b',') {
        let mut ends = written.split(|&byte| byte == b'-').map(number);
        let first = ends.next().unwrap_or_default();
        let last = ends.next().unwrap_or(first);
        gone = &gone[gone.partition_point(|&port| port < first)..];
        let within = gone.partition_point(|&port| port <= last);
        if within == 0 {
            out.extend_from_slice(written);
            out.push(b',');
        } else {
            let mut start = u32::from(first);
            for port in gone[..within].iter().map(|&port| u32::from(port)).chain([u32::from(last) + 1]) {
                if port > start {
                    part(start, port - 1, out);
                }
                start = port + 1;
            }
        }
    }
    end(out);
}

fn number(digits: &[u8]) -> u16 {
    digits.iter().fold(0, |value: u16, digit| value.wrapping_mul(10).wrapping_add(u16::from(digit.wrapping_sub(b'0'))))
}

fn part<T: PartialEq + std::fmt::Display>(first: T, last: T, out: &mut Out) {
    print(out, &first);
    if first != last {
        out.push(b'-');
        print(out, last);
    }
    out.push(b',');
}

fn end(out: &mut Out) {
    if out.last() == Some(&b',') {
        out.pop();
    }
}
