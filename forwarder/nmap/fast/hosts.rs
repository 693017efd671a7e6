//! Where plain hosts are in a part of a scan, as forwarder/nmap/framing.py finds them one by one.

use crate::json::Out;

/// Write where the first and those behind it begin and end, in four bytes each, as long as nothing but white space is
/// between them, all of a host is there, and nothing in it could hide its end: a comment, a declaration, a processing
/// instruction, or what begins where its end was cut off.
pub fn find(data: &[u8], mut start: usize, longest: usize, out: &mut Out) {
    while let Some(end) = end(data, start, longest) {
        for place in [start, end] {
            out.extend_from_slice(&(place as u32).to_le_bytes());
        }
        start = end;
        while data.get(start).map_or(false, |&byte| is_space(byte)) {
            start += 1;
        }
    }
}

/// Return where the host at hand ends, None if it is not plain.
fn end(data: &[u8], start: usize, longest: usize) -> Option<usize> {
    let rest = &data[start..data.len().min(start + longest)];
    if !begins(rest, b"<host") {
        return None;
    }
    let mut at = 1;
    loop {
        at += rest[at..].iter().position(|&byte| byte == b'<')?;
        let tag = &rest[at..];
        match tag.get(1)? {
            b'!' | b'?' => return None,
            b'h' if begins(tag, b"<host") => return None,
            b'n' if tag.starts_with(b"<nmaprun") => return None,
            b'/' if tag.starts_with(b"</host>") => return Some(start + at + b"</host>".len()),
            b'/' if begins(tag, b"</host") || tag.starts_with(b"</nmaprun") => return None,
            _ => at += 1,
        }
    }
}

/// Tell whether a tag has a name, and not one that only begins like it.
fn begins(data: &[u8], name: &[u8]) -> bool {
    data.starts_with(name) && data.get(name.len()).map_or(false, |&byte| byte == b'>' || is_space(byte))
}

/// Tell whether a byte is white space to Python, too.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}
