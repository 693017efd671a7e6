//! A cursor over well-formed XML: elements, attributes, references to ASCII characters, and nothing else.

use crate::values::MOST;

/// What is left to the reader in Python.
pub struct Odd;
pub type Result<T> = std::result::Result<T, Odd>;

/// Text as it stands in the XML.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    pub bytes: &'a [u8],
    /// There is no reference in it, nothing that JSON escapes, and nothing beyond ASCII.
    pub plain: bool,
}

pub const NOTHING: Raw = Raw { bytes: b"", plain: true };

pub struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
    /// Those of the start tag that was read last.
    pub attributes: Vec<(&'a [u8], Raw<'a>)>,
}

/// A start tag that was read, its attributes apart.
#[derive(Clone, Copy)]
pub struct Tag<'a> {
    pub name: &'a [u8],
    empty: bool,
}

/// What a byte may be in text: not at all, as it is, escaped in JSON or a reference or part of a character beyond ASCII, or
/// white space that is only text outside of attributes.
const NEVER: u8 = 0;
const PLAIN: u8 = 1;
const SPECIAL: u8 = 2;
const SPACE: u8 = 3;
const KIND: [u8; 256] = {
    let mut kind = [NEVER; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        kind[byte as usize] = PLAIN;
        byte += 1;
    }
    let mut byte = 0x80;
    while byte < kind.len() {
        kind[byte] = SPECIAL;
        byte += 1;
    }
    kind[b'"' as usize] = SPECIAL;
    kind[b'&' as usize] = SPECIAL;
    kind[b'\\' as usize] = SPECIAL;
    kind[b'<' as usize] = NEVER;
    kind[b'\n' as usize] = SPACE;
    kind[b'\t' as usize] = SPACE;
    kind
};

/// Find it odd that data is not UTF-8, or has one of two characters of it that XML has not.
pub fn characters(data: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(data).map_err(|_| Odd)?;
    if !data.is_ascii() && text.contains(['\u{fffe}', '\u{ffff}'].as_ref()) {
        return Err(Odd);
    }
    Ok(())
}

impl<'a> Cursor<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Cursor { data, at: 0, attributes: Vec::with_capacity(16) }
    }

    fn peek(&self) -> u8 {
        *self.data.get(self.at).unwrap_or(&0)
    }

    fn pass(&mut self, token: &[u8]) -> Result<()> {
        if !self.data[self.at..].starts_with(token) {
            return Err(Odd);
        }
        self.at += token.len();
        Ok(())
    }

    fn pass_space(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), b' ' | b'\n' | b'\t') {
            self.at += 1;
        }
        self.at > start
    }

    fn name(&mut self) -> Result<&'a [u8]> {
        let start = self.at;
        while matches!(self.peek(), b'a'..=b'z' | b'_') {
            self.at += 1;
        }
        if self.at == start {
            Err(Odd)
        } else {
            Ok(&self.data[start..self.at])
        }
    }

    /// Pass over text up to a byte, which is not `<` and belongs to none, or to what can be in no text.
    fn pass_text(&mut self, end: u8, space: u8) -> Raw<'a> {
        let start = self.at;
        let mut plain = true;
        while let Some(&byte) = self.data.get(self.at) {
            let kind = KIND[byte as usize];
            if byte == end || kind == NEVER || kind == SPACE && space == NEVER {
                break;
            }
            plain &= kind == PLAIN;
            self.at += 1;
        }
        Raw { bytes: &self.data[start..self.at], plain }
    }

    /// Read the next child's start tag; None at the end tag of its parent. Text between them is white space only.
    fn child(&mut self) -> Result<Option<Tag<'a>>> {
        self.pass_space();
        if self.data[self.at..].starts_with(b"</") {
            return Ok(None);
        }
        self.start().map(Some)
    }

    /// Read a start tag.
    pub fn start(&mut self) -> Result<Tag<'a>> {
        self.pass(b"<")?;
        let name = self.name()?;
        self.attributes.clear();
        loop {
            let apart = self.pass_space();
            match self.peek() {
                b'>' => {
                    self.at += 1;
                    return Ok(Tag { name, empty: false });
                }
                b'/' => {
                    self.pass(b"/>")?;
                    return Ok(Tag { name, empty: true });
                }
                _ if apart => self.attribute()?,
                _ => return Err(Odd),
            }
        }
    }

    fn attribute(&mut self) -> Result<()> {
        let name = self.name()?;
        self.pass(b"=")?;
        let quote = self.peek();
        let found = &self.attributes;
        if !matches!(quote, b'"' | b'\'') || found.len() == MOST || found.iter().any(|&(other, _)| other == name) {
            return Err(Odd);
        }
        self.at += 1;
        let value = self.pass_text(quote, NEVER);
        self.pass(&[quote])?;
        self.attributes.push((name, value));
        Ok(())
    }

    /// Return the value of an attribute; nothing when there is none.
    pub fn get(&self, name: &str) -> Raw<'a> {
        self.attributes.iter().find(|(other, _)| *other == name.as_bytes()).map_or(NOTHING, |&(_, value)| value)
    }

    /// Return the values of the attributes that an element may have.
    pub fn known<const N: usize>(&self, names: [&str; N]) -> Result<[Raw<'a>; N]> {
        if self.attributes.iter().all(|(name, _)| names.iter().any(|known| known.as_bytes() == *name)) {
            Ok(names.map(|name| self.get(name)))
        } else {
            Err(Odd)
        }
    }

    /// Call `read` with each child of an element whose start tag was read.
    pub fn children(&mut self, of: Tag<'a>, mut read: impl FnMut(&mut Self, Tag<'a>) -> Result<()>) -> Result<()> {
        if of.empty {
            return Ok(());
        }
        while let Some(child) = self.child()? {
            read(self, child)?;
        }
        self.end(of)
    }

    /// Read to the end of an element without children.
    pub fn nothing(&mut self, of: Tag<'a>) -> Result<()> {
        self.children(of, |_, _| Err(Odd))
    }

    /// Read the text of an element without children.
    pub fn text(&mut self, of: Tag<'a>) -> Result<Raw<'a>> {
        if of.empty {
            return Ok(NOTHING);
        }
        let text = self.pass_text(b'<', SPACE);
        self.end(of)?;
        if text.bytes.windows(3).any(|three| three == b"]]>") {
            Err(Odd)
        } else {
            Ok(text)
        }
    }

    fn end(&mut self, of: Tag<'a>) -> Result<()> {
        self.pass(b"</")?;
        self.pass(of.name)?;
        self.pass_space();
        self.pass(b">")
    }

    /// Return what was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.data[self.at..]
    }

    /// Tell whether nothing but white space is left.
    pub fn ended(&mut self) -> bool {
        self.pass_space();
        self.at == self.data.len()
    }
}

/// Return the character that raw text begins with, which is a reference, and the reference's length.
pub fn reference(raw: &[u8]) -> Result<(u8, usize)> {
    let end = raw.iter().take(12).position(|&byte| byte == b';').ok_or(Odd)?;
    let character = match &raw[1..end] {
        b"amp" => b'&',
        b"lt" => b'<',
        b"gt" => b'>',
        b"quot" => b'"',
        b"apos" => b'\'',
        [b'#', b'x', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ => return Err(Odd),
    };
    Ok((character, end + 1))
}

fn number(digits: &[u8], radix: u32) -> Result<u8> {
    let mut value = 0;
    for &digit in digits {
        value = value * radix + (digit as char).to_digit(radix).ok_or(Odd)?;
        if value > 0x7e {
            return Err(Odd);
        }
    }
    match value {
        9 | 10 | 13 | 0x20..=0x7e => Ok(value as u8),
        _ => Err(Odd), // also for no digits
    }
}
