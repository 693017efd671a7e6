//! Attribute values by their types, as forwarder/nmap/values.py has them.

use crate::json::{self, print, Members, Out};
use crate::xml::{Cursor, Odd, Raw, Result, Tag, NOTHING};
use std::io::Write;
use std::net::Ipv6Addr;

#[derive(Clone, Copy)]
pub enum Kind {
    Text,
    Natural,
    Integer,
    PortNumber,
    Number,
    Boolean,
    Address,
    Moment,
}

/// XML attribute, our name, type; in the order of our names.
pub type Table = &'static [(&'static str, &'static str, Kind)];
/// Attributes in the longest table, and one more; an element with more than these is odd.
pub const MOST: usize = 16;

/// Return the attributes of the start tag that was read last, in the table's order; one that is not in it is odd.
pub fn slots<'a>(cursor: &Cursor<'a>, table: Table) -> Result<[Raw<'a>; MOST]> {
    let mut found = [NOTHING; MOST];
    for &(name, raw) in &cursor.attributes {
        found[table.iter().position(|entry| entry.0.as_bytes() == name).ok_or(Odd)?] = raw;
    }
    Ok(found)
}

/// Write such attributes as members.
pub fn write(out: &mut Out, table: &[(&str, &str, Kind)], slots: &[Raw]) -> Result<()> {
    for (&(_, ours, kind), &raw) in table.iter().zip(slots) {
        if !raw.bytes.is_empty() {
            json::key(out, ours);
            value(out, raw, kind)?;
        }
    }
    Ok(())
}

/// Write the attributes of the start tag that was read last as members.
pub fn take(cursor: &Cursor, table: Table, out: &mut Out) -> Result<()> {
    write(out, table, &slots(cursor, table)?)
}

/// Add the attributes of the start tag that was read last to members.
pub fn add(cursor: &Cursor, table: Table, members: &mut Members) -> Result<()> {
    for (&(_, ours, kind), &raw) in table.iter().zip(&slots(cursor, table)?) {
        if !raw.bytes.is_empty() {
            value(members.add(ours)?, raw, kind)?;
        }
    }
    Ok(())
}

/// Write an object of an element's attributes, which has no children, and a comma.
pub fn entry<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, table: Table, out: &mut Out) -> Result<()> {
    json::object(out, |out| take(cursor, table, out))?;
    cursor.nothing(tag)
}

pub fn value(out: &mut Out, raw: Raw, kind: Kind) -> Result<()> {
    let bytes = raw.bytes;
    match kind {
        Kind::Text => return json::string(out, raw),
        Kind::Address => return address(out, raw),
        Kind::Natural => natural(out, bytes, i64::MAX)?,
        Kind::PortNumber => natural(out, bytes, 65535)?,
        Kind::Integer => match bytes {
            [b'-', rest @ ..] => print(out, -digits(rest)?),
            _ => print(out, digits(bytes)?),
        },
        Kind::Number => number(out, bytes)?,
        Kind::Boolean => out.extend_from_slice(match bytes {
            b"true" | b"1" => b"true",
            b"false" | b"0" => b"false",
            _ => return Err(Odd),
        }),
        Kind::Moment => moment(out, digits(bytes)?)?,
    }
    out.push(b',');
    Ok(())
}

fn natural(out: &mut Out, raw: &[u8], largest: i64) -> Result<()> {
    match digits(raw)? {
        number if number > largest => return Err(Odd),
        number if raw.len() > 1 && raw[0] == b'0' => print(out, number),
        _ => out.extend_from_slice(raw),
    }
    Ok(())
}

/// Up to 15 decimal digits.
pub fn digits(raw: &[u8]) -> Result<i64> {
    if raw.is_empty() || raw.len() > 15 || !raw.iter().all(u8::is_ascii_digit) {
        return Err(Odd);
    }
    Ok(raw.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

/// A decimal fraction, rounded to four decimals, without those at its end that are zero; an integral one as an integer.
fn number(out: &mut Out, raw: &[u8]) -> Result<()> {
    let (whole, fraction) = match raw.iter().position(|&byte| byte == b'.') {
        Some(place) => (&raw[..place], &raw[place + 1..]),
        None => (raw, &b"0"[..]),
    };
    digits(whole)?;
    digits(fraction)?;
    if whole.len() > 10 || fraction.len() > 9 {
        return Err(Odd);
    }
    let value: f64 = std::str::from_utf8(raw).ok().and_then(|text| text.parse().ok()).ok_or(Odd)?;
    let rounded = format!("{value:.4}");
    out.extend_from_slice(rounded.trim_end_matches('0').trim_end_matches('.').as_bytes());
    Ok(())
}

/// Seconds since 1970 as RFC 3339; the civil date by the usual arithmetic on eras of 400 years.
fn moment(out: &mut Out, seconds: i64) -> Result<()> {
    if !(1..=253_402_300_799).contains(&seconds) {
        return Err(Odd);
    }
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153; // months from March on
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    write!(out, "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z\"").expect("as above");
    Ok(())
}

/// An IPv4 address in its usual form, or an IPv6 address that holds none; as a string and a comma.
pub fn address(out: &mut Out, raw: Raw) -> Result<()> {
    if is_ipv4(raw.bytes) {
        return json::string(out, raw);
    }
    let text = std::str::from_utf8(raw.bytes).map_err(|_| Odd)?;
    let address: Ipv6Addr = text.parse().map_err(|_| Odd)?;
    if text.contains('.') || address.segments()[..5] == [0; 5] {
        return Err(Odd); // written in several ways
    }
    write!(out, "\"{address}\",").map_err(|_| Odd)
}

fn is_ipv4(raw: &[u8]) -> bool {
    let mut parts = 0;
    raw.split(|&byte| byte == b'.').all(|part| {
        parts += 1;
        matches!(part.len(), 1..=3)
            && digits(part).map_or(false, |value| value < 256)
            && (part.len() == 1 || part[0] != b'0')
    }) && parts == 4
}

/// A MAC address, or a longer one, upper-case with dashes, as a string and a comma.
pub fn mac(out: &mut Out, raw: Raw) -> Result<()> {
    let pairs = (raw.bytes.len() + 1) / 3;
    let fits = raw.bytes.iter().enumerate().all(|(place, byte)| match place % 3 {
        2 => matches!(byte, b':' | b'-'),
        _ => byte.is_ascii_hexdigit(),
    });
    if !fits || raw.bytes.len() % 3 != 2 || !(6..=20).contains(&pairs) {
        return Err(Odd);
    }
    out.push(b'"');
    out.extend(raw.bytes.iter().map(|&byte| if byte == b':' { b'-' } else { byte.to_ascii_uppercase() }));
    out.extend_from_slice(b"\",");
    Ok(())
}
