//! Writing JSON. Objects and arrays are begun, filled with members that each end in a comma, and closed over the last.

use crate::xml::{reference, Cursor, Odd, Raw, Result, Tag};
use std::borrow::Cow;
use std::io::Write;

pub type Out = Vec<u8>;

/// Members of an object, as they come, each with its comma; to be written in the order of their names.
#[derive(Default)]
pub struct Members {
    out: Out,
    begun: Vec<(&'static str, usize)>,
}

impl Members {
    /// Begin a member, whose value and comma are written next; a name that comes a second time is odd.
    pub fn add(&mut self, name: &'static str) -> Result<&mut Out> {
        if self.begun.iter().any(|&(other, _)| other == name) {
            return Err(Odd);
        }
        self.begun.push((name, self.out.len()));
        Ok(&mut self.out)
    }

    /// Begin a member that is there only if something is written.
    pub fn list(&mut self, name: &'static str, entries: &[u8]) -> Result<()> {
        if !entries.is_empty() {
            let out = self.add(name)?;
            out.push(b'[');
            out.extend_from_slice(entries);
            close(out, b']');
        }
        Ok(())
    }

    /// Return the JSON of a member, nothing when there is none.
    pub fn get(&self, name: &str) -> &[u8] {
        match self.begun.iter().position(|&(other, _)| other == name) {
            Some(place) => self.value(place),
            None => b"",
        }
    }

    fn value(&self, place: usize) -> &[u8] {
        let end = self.begun.get(place + 1).map_or(self.out.len(), |&(_, next)| next);
        &self.out[self.begun[place].1..end - 1]
    }

    /// Write the members, each with its comma.
    pub fn write(&self, out: &mut Out) {
        let mut order: Vec<usize> = (0..self.begun.len()).collect();
        order.sort_unstable_by_key(|&place| self.begun[place].0);
        for place in order {
            key(out, self.begun[place].0);
            out.extend_from_slice(self.value(place));
            out.push(b',');
        }
    }
}

/// Write a number.
pub fn print(out: &mut Out, number: impl std::fmt::Display) {
    write!(out, "{number}").expect("memory can be written to");
}

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

/// Write text without references as a string and a comma.
pub fn text(out: &mut Out, text: &[u8]) {
    out.push(b'"');
    if text.iter().all(|byte| matches!(byte, b' '..) & !matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(text);
        out.extend_from_slice(b"\",");
        return;
    }
    text.iter().for_each(|&byte| character(out, byte));
    out.extend_from_slice(b"\",");
}

fn character(out: &mut Out, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b' '.. => out.push(byte),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => out.extend_from_slice(b"\\r"), // no other control character is let through
    }
}

/// Return text with its references replaced.
pub fn decoded(raw: Raw<'_>) -> Result<Cow<'_, [u8]>> {
    if raw.plain || !raw.bytes.contains(&b'&') {
        return Ok(Cow::Borrowed(raw.bytes));
    }
    let (mut found, mut rest) = (Out::with_capacity(raw.bytes.len()), raw.bytes);
    while let Some(place) = rest.iter().position(|&byte| byte == b'&') {
        found.extend_from_slice(&rest[..place]);
        let (character, length) = reference(&rest[place..])?;
        found.push(character);
        rest = &rest[place + length..];
    }
    found.extend_from_slice(rest);
    Ok(Cow::Owned(found))
}

fn escaped(out: &mut Out, mut rest: &[u8]) -> Result<()> {
    while let Some(place) = rest.iter().position(|&byte| matches!(byte, b'&' | b'"' | b'\\' | b'\n' | b'\t')) {
        out.extend_from_slice(&rest[..place]);
        let (byte, length) = if rest[place] == b'&' { reference(&rest[place..])? } else { (rest[place], 1) };
        character(out, byte);
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

/// Write parts as they are.
pub fn put(out: &mut Out, first: &[u8], more: &[&[u8]]) {
    out.extend_from_slice(first);
    more.iter().for_each(|part| out.extend_from_slice(part));
}

/// Write a member that is a text without references; none when it is empty.
pub fn optional(name: &str, value: &[u8], out: &mut Out) {
    if !value.is_empty() {
        key(out, name);
        text(out, value);
    }
}

/// Write a member that is a list of texts without references; none when there are none.
pub fn texts(name: &str, values: &[Out], out: &mut Out) {
    if !values.is_empty() {
        key(out, name);
        out.push(b'[');
        values.iter().for_each(|value| text(out, value));
        close(out, b']');
    }
}
