//! Writing JSON. Objects and arrays are begun, filled with members that each end in a comma, and closed over the last.

use crate::xml::{reference, Cursor, Raw, Result, Tag};

pub type Out = Vec<u8>;

/// Write `"key":`.
pub fn key(out: &mut Out, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Write text as a string and a comma.
pub fn string(out: &mut Out, raw: Raw) -> Result<()> {
    out.push(b'"');
    if raw.plain {
        out.extend_from_slice(raw.bytes);
    } else {
        escaped(out, raw.bytes)?;
    }
    out.extend_from_slice(b"\",");
    Ok(())
}

fn escaped(out: &mut Out, mut rest: &[u8]) -> Result<()> {
    while let Some(place) = rest.iter().position(|&byte| matches!(byte, b'&' | b'"' | b'\\' | b'\n' | b'\t')) {
        out.extend_from_slice(&rest[..place]);
        let (character, length) = if rest[place] == b'&' { reference(&rest[place..])? } else { (rest[place], 1) };
        match character {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', character]),
            b' '.. => out.push(character),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(b"\\r"), // no other control character is let through
        }
        rest = &rest[place + length..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Close what was begun with a bracket, and write a comma.
pub fn close(out: &mut Out, bracket: u8) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(bracket);
    out.push(b',');
}

/// Write an object and a comma; `fill` writes its members.
pub fn object(out: &mut Out, fill: impl FnOnce(&mut Out) -> Result<()>) -> Result<()> {
    out.push(b'{');
    fill(out)?;
    close(out, b'}');
    Ok(())
}

/// Write a member that is a list, given by its entries, each with a comma; none when there are none.
pub fn list(out: &mut Out, name: &str, entries: &[u8]) {
    if !entries.is_empty() {
        key(out, name);
        out.push(b'[');
        out.extend_from_slice(entries);
        close(out, b']');
    }
}

/// Write a member that is a list of what `read` writes for each child of an element, none when it has no children.
pub fn children<'a>(
    cursor: &mut Cursor<'a>,
    of: Tag<'a>,
    out: &mut Out,
    name: &str,
    mut read: impl FnMut(&mut Cursor<'a>, Tag<'a>, &mut Out) -> Result<()>,
) -> Result<()> {
    let start = out.len();
    cursor.children(of, |cursor, child| {
        if out.len() == start {
            key(out, name);
            out.push(b'[');
        }
        read(cursor, child, out)
    })?;
    if out.len() > start {
        close(out, b']');
    }
    Ok(())
}
