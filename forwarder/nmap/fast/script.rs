//! `script` elements, as forwarder/nmap/script.py reads them, and of web servers what forwarder/nse/http.py reads in them;
//! hostkey.rs has the keys of SSH servers, and what other scripts say is told in Python.

use crate::hostkey::ssh;
use crate::json::{self, close, decoded, key, list, object, optional, string, texts, Out};
use crate::port::Port;
use crate::xml::{Cursor, Odd, Raw, Result, Tag, NOTHING};

const MAX_DEPTH: usize = 16;
const LONGEST: usize = 1000;
/// Values kept of a list.
pub const MAX_VALUES: usize = 500;

/// Scripts that something understands.
#[derive(Default)]
pub struct Understood<'a> {
    /// Those that tell the title of a page.
    pub titles: Vec<&'a [u8]>,
    /// Those that tell what a web server calls itself.
    pub servers: Vec<&'a [u8]>,
    /// Those that tell the keys of an SSH server.
    pub host_keys: Vec<&'a [u8]>,
    /// Others, and parts of the names of others.
    pub names: Vec<&'a [u8]>,
    pub parts: Vec<&'a [u8]>,
}

/// What is in an element, not read yet, and its start tag.
pub type Rows<'a> = (&'a [u8], Tag<'a>);

/// Script results, as they come.
#[derive(Default)]
pub struct Scripts<'a> {
    ids: Out,
    outputs: Out,
    results: Out,
    understood: Understood<'a>,
    /// What one says has to be told in Python.
    pub asked: bool,
    /// What the only one that tells of a page says: title, and where it redirects to.
    pub title: Option<[Raw<'a>; 2]>,
    /// What the only one that tells of a web server says.
    pub server: Option<Rows<'a>>,
    /// What the only one that tells of host keys says.
    pub host_keys: Option<Rows<'a>>,
}

impl<'a> Scripts<'a> {
    pub fn new(understood: Understood<'a>) -> Self {
        Scripts { understood, ..Scripts::default() }
    }

    /// Forget them.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.outputs.clear();
        self.results.clear();
        self.asked = false;
        self.title = None;
        self.server = None;
        self.host_keys = None;
    }

    /// Read a script; its start tag was read.
    pub fn add(&mut self, cursor: &mut Cursor<'a>, tag: Tag<'a>) -> Result<()> {
        let [id, output] = cursor.known(["id", "output"])?;
        string(&mut self.ids, id)?;
        string(&mut self.outputs, output)?;
        let out = &mut self.results;
        let start = out.len();
        out.extend_from_slice(b"{\"id\":");
        string(out, id)?;
        let rows = (cursor.rest(), tag);
        let (empty, mut page, mut plain) = (out.len(), [None; 2], true);
        json::children(cursor, tag, out, "table", |cursor, child, out| {
            if let Some((name, value)) = row(cursor, child, out, 1)? {
                plain &= name.plain;
                match name.bytes {
                    b"title" => page[0] = page[0].or(Some(value)),
                    b"redirect_url" => page[1] = page[1].or(Some(value)),
                    _ => {}
                }
            }
            Ok(())
        })?;
        let told = out.len() > empty;
        if told {
            close(out, b'}');
        } else {
            out.truncate(start);
        }
        if self.understood.titles.contains(&id.bytes) {
            self.asked |= !told || !plain || self.title.is_some();
            self.title = Some(page.map(|text| text.unwrap_or(NOTHING)));
        } else if self.understood.servers.contains(&id.bytes) {
            self.asked |= self.server.is_some();
            self.server = Some(rows);
        } else if self.understood.host_keys.contains(&id.bytes) {
            self.asked |= !told || self.host_keys.is_some();
            self.host_keys = Some(rows);
        } else {
            self.asked |= self.is_understood(id);
        }
        Ok(())
    }

    fn is_understood(&self, id: Raw) -> bool {
        let Understood { names, parts, .. } = &self.understood;
        !id.plain
            || names.contains(&id.bytes)
            || parts.iter().any(|part| id.bytes.windows(part.len()).any(|window| window == *part))
    }

    /// Write them as an object; nothing without scripts.
    pub fn write(&self, out: &mut Out) {
        if !self.ids.is_empty() {
            out.push(b'{');
            list(out, "id", &self.ids);
            list(out, "output", &self.outputs);
            list(out, "result", &self.results);
            close(out, b'}');
            out.pop(); // the comma
        }
    }
}

/// Write a row of a table; return key and value of one that is no table.
pub fn row<'a>(
    cursor: &mut Cursor<'a>,
    tag: Tag<'a>,
    out: &mut Out,
    depth: usize,
) -> Result<Option<(Raw<'a>, Raw<'a>)>> {
    let mut name = NOTHING;
    let mut said = None;
    object(out, |out| {
        match cursor.attributes[..] {
            [] => {}
            [(b"key", value)] => {
                key(out, "key");
                string(out, value)?;
                name = value;
            }
            _ => return Err(Odd),
        }
        match tag.name {
            b"elem" => {
                let text = cursor.text(tag)?;
                said = Some((name, text));
                key(out, "value");
                string(out, text)
            }
            b"table" if depth < MAX_DEPTH => {
                key(out, "table");
                out.push(b'[');
                cursor.children(tag, |cursor, child| row(cursor, child, out, depth + 1).map(|_| ()))?;
                close(out, b']');
                Ok(())
            }
            _ => Err(Odd),
        }
    })?;
    Ok(said)
}

/// Return the members `http` and `ssh` of a port, each empty when there is nothing; None where one of them, or what
/// another script says, is left to Python.
pub fn found(port: &Port) -> Result<Option<[Out; 2]>> {
    if port.asked {
        return Ok(None);
    }
    let keys = port.host_keys.map_or(Ok(Some(Out::new())), ssh)?;
    Ok(page(port)?.zip(keys).map(|(page, keys)| [page, keys]))
}

/// Return the member `http`, made from the title of a page and the server's names.
fn page(port: &Port) -> Result<Option<Out>> {
    let [title, redirect] = port.title.unwrap_or([NOTHING; 2]);
    let said =
        (clean(&decoded(redirect)?), port.server.map_or(Ok(Some(Vec::new())), servers)?, clean(&decoded(title)?));
    let (redirect, servers, title) = match said {
        (Some(redirect), Some(servers), Some(title)) => (redirect, servers, title),
        _ => return Ok(None),
    };
    let mut found = Out::new();
    optional("redirect", &redirect, &mut found);
    texts("server", &servers, &mut found);
    optional("title", &title, &mut found);
    if !found.is_empty() {
        found.pop();
        found = [b",\"http\":{", &found[..], b"}"].concat();
    }
    Ok(Some(found))
}

/// Return what a web server calls itself; None where it is left to Python.
fn servers((rest, tag): Rows) -> Result<Option<Vec<Out>>> {
    let (mut found, mut count, mut sure, mut passed) = (Vec::new(), 0, true, Out::new());
    Cursor::new(rest).children(tag, |cursor, child| {
        passed.clear();
        if let Some((_, value)) = row(cursor, child, &mut passed, 1)? {
            count += 1;
            match clean(&decoded(value)?) {
                Some(name) if count <= MAX_VALUES => {
                    if !name.is_empty() && !found.contains(&name) {
                        found.push(name);
                    }
                }
                _ => sure = false,
            }
        }
        Ok(())
    })?;
    Ok(Some(found).filter(|_| sure && count > 0))
}

/// Return a value as `clean` in forwarder/nse/results.py does; None for bytes beyond ASCII as nmap writes them.
pub fn clean(text: &[u8]) -> Option<Out> {
    if text.windows(2).any(|two| two == b"\\x") {
        return None;
    }
    let text = first(std::str::from_utf8(text).ok()?, 2 * LONGEST);
    let found = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(first(&found, LONGEST).trim_end().into())
}

/// Return a text's first characters.
pub fn first(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(place, _)| &text[..place])
}
