//! `port` and `script` elements, as forwarder/nmap/port.py and script.py read them.

use crate::json::{self, close, key, list, object, string, Out};
use crate::values::{take, Kind, Table};
use crate::xml::{Cursor, Odd, Result, Tag};

const PORT: Table = &[("protocol", "protocol", Kind::Text), ("portid", "number", Kind::PortNumber)];
const STATE: Table = &[
    ("state", "state", Kind::Text),
    ("reason", "reason", Kind::Text),
    ("reason_ttl", "reason_ttl", Kind::Natural),
    ("reason_ip", "reason_ip", Kind::Address),
];
const SERVICE: Table = &[
    ("name", "name", Kind::Text),
    ("product", "product", Kind::Text),
    ("version", "version", Kind::Text),
    ("extrainfo", "extra_info", Kind::Text),
    ("tunnel", "tunnel", Kind::Text),
    ("method", "method", Kind::Text),
    ("conf", "confidence", Kind::Integer),
    ("hostname", "hostname", Kind::Text),
    ("ostype", "os_type", Kind::Text),
    ("devicetype", "device_type", Kind::Text),
    ("proto", "rpc_protocol", Kind::Text),
    ("rpcnum", "rpc_number", Kind::Integer),
    ("lowver", "low_version", Kind::Integer),
    ("highver", "high_version", Kind::Integer),
    ("servicefp", "fingerprint", Kind::Text),
];
const OWNER: Table = &[("name", "owner", Kind::Text)];
const MAX_DEPTH: usize = 16;

/// Write a port, given by its bytes.
pub fn read(data: &[u8], out: &mut Out) -> Result<()> {
    let mut cursor = Cursor::new(data);
    let tag = cursor.start()?;
    if tag.name != b"port" {
        return Err(Odd);
    }
    port(&mut cursor, tag, out, &mut Scripts::default())?;
    out.pop(); // the comma
    if cursor.ended() { Ok(()) } else { Err(Odd) }
}

/// Write a port and a comma; its start tag was read.
pub fn port<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out, scripts: &mut Scripts) -> Result<()> {
    scripts.clear();
    let mut described = false;
    object(out, |out| {
        let protocol = cursor.get("protocol");
        if !protocol.plain || protocol.bytes.iter().any(u8::is_ascii_uppercase) {
            return Err(Odd); // written in lower case by Python, but not in the id
        }
        key(out, "id");
        string(out, cursor.get("protocol"))?;
        out.truncate(out.len() - 2);
        let protocol_end = out.len();
        string(out, cursor.get("portid"))?;
        out[protocol_end] = b'/'; // in place of the quote that began the number
        take(cursor, PORT, out)?;
        cursor.children(tag, |cursor, child| match child.name {
            b"state" => take(cursor, STATE, out).and_then(|()| cursor.nothing(child)),
            b"owner" => take(cursor, OWNER, out).and_then(|()| cursor.nothing(child)),
            b"script" => scripts.add(cursor, child),
            b"service" if !described => {
                described = true;
                key(out, "service");
                object(out, |out| {
                    take(cursor, SERVICE, out)?;
                    cpes(cursor, child, out)
                })
            }
            _ => Err(Odd),
        })?;
        scripts.write(out);
        Ok(())
    })
}

/// Write `cpe` for an element with such children.
pub fn cpes<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out) -> Result<()> {
    json::children(cursor, tag, out, "cpe", |cursor, child, out| {
        if child.name != b"cpe" || !cursor.attributes.is_empty() {
            return Err(Odd);
        }
        let text = cursor.text(child)?;
        if text.bytes.is_empty() { Err(Odd) } else { string(out, text) }
    })
}

/// Script results, as they come.
#[derive(Default)]
pub struct Scripts {
    ids: Out,
    outputs: Out,
    results: Out,
}

impl Scripts {
    /// Forget them.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.outputs.clear();
        self.results.clear();
    }

    /// Read a script; its start tag was read.
    pub fn add<'a>(&mut self, cursor: &mut Cursor<'a>, tag: Tag<'a>) -> Result<()> {
        let [id, output] = cursor.known(["id", "output"])?;
        string(&mut self.ids, id)?;
        string(&mut self.outputs, output)?;
        let out = &mut self.results;
        let start = out.len();
        out.extend_from_slice(b"{\"id\":");
        string(out, id)?;
        let empty = out.len();
        json::children(cursor, tag, out, "table", |cursor, child, out| row(cursor, child, out, 1))?;
        if out.len() == empty {
            out.truncate(start);
        } else {
            close(out, b'}');
        }
        Ok(())
    }

    /// Write them as the member `script`; none without scripts.
    pub fn write(&self, out: &mut Out) {
        if !self.ids.is_empty() {
            key(out, "script");
            out.push(b'{');
            list(out, "id", &self.ids);
            list(out, "output", &self.outputs);
            list(out, "result", &self.results);
            close(out, b'}');
        }
    }
}

fn row<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out, depth: usize) -> Result<()> {
    object(out, |out| {
        match cursor.attributes[..] {
            [] => {}
            [(b"key", value)] => {
                key(out, "key");
                string(out, value)?;
            }
            _ => return Err(Odd),
        }
        match tag.name {
            b"elem" => {
                key(out, "value");
                string(out, cursor.text(tag)?)
            }
            b"table" if depth < MAX_DEPTH => {
                key(out, "table");
                out.push(b'[');
                cursor.children(tag, |cursor, child| row(cursor, child, out, depth + 1))?;
                close(out, b']');
                Ok(())
            }
            _ => Err(Odd),
        }
    })
}
