//! `port` and `script` elements, as forwarder/nmap/port.py and script.py read them.

use crate::json::{self, close, key, list, object, string, text, Out};
use crate::values::{members, port_number, values, Kind, Table, Values, NONE};
use crate::xml::{Cursor, Odd, Raw, Result, Tag, NOTHING};

const STATE: Table = &[
    ("reason", "reason", Kind::Text),
    ("reason_ip", "reason_ip", Kind::Address),
    ("reason_ttl", "reason_ttl", Kind::Natural),
    ("state", "state", Kind::Text),
];
const REASON: usize = 0;
const STATE_ITSELF: usize = 3;
const SERVICE: Table = &[
    ("conf", "confidence", Kind::Integer),
    ("devicetype", "device_type", Kind::Text),
    ("extrainfo", "extra_info", Kind::Text),
    ("servicefp", "fingerprint", Kind::Text),
    ("highver", "high_version", Kind::Integer),
    ("hostname", "hostname", Kind::Text),
    ("lowver", "low_version", Kind::Integer),
    ("method", "method", Kind::Text),
    ("name", "name", Kind::Text),
    ("ostype", "os_type", Kind::Text),
    ("product", "product", Kind::Text),
    ("rpcnum", "rpc_number", Kind::Integer),
    ("proto", "rpc_protocol", Kind::Text),
    ("tunnel", "tunnel", Kind::Text),
    ("version", "version", Kind::Text),
];
const METHOD: usize = 7;
const NAME: usize = 8;
const PRODUCT: usize = 10;
const VERSION: usize = 14;
/// Place of `cpe`, which is no attribute.
const CPE: usize = 1;
const OWNER: Table = &[("name", "owner", Kind::Text)];
const MAX_DEPTH: usize = 16;

/// Ports as they are handed over.
#[derive(Default)]
pub struct Ports {
    /// A list for each, and a comma: id, protocol, number, state, reason, service (if nmap asked it), product, version.
    index: Out,
    /// PARTS of each: bytes that its record is made of, a NUL before each, which nothing in them is.
    parts: Out,
    service: Out,
    scripts: Scripts,
}

impl Ports {
    /// Read a port; its start tag was read.
    pub fn add<'a>(&mut self, cursor: &mut Cursor<'a>, tag: Tag<'a>) -> Result<()> {
        let [protocol, number] = cursor.known(["protocol", "portid"])?;
        let lower = protocol.plain && !protocol.bytes.is_empty() && !protocol.bytes.iter().any(u8::is_ascii_uppercase);
        port_number(number.bytes)?;
        if !lower || number.bytes.len() > 1 && number.bytes[0] == b'0' {
            return Err(Odd); // then the id is not made of what the record says
        }
        self.scripts.clear();
        self.service.clear();
        let (mut state, mut service, mut owner) = (None, None, None);
        cursor.children(tag, |cursor, child| match child.name {
            b"state" if state.is_none() => {
                state = Some(values(cursor, STATE)?);
                cursor.nothing(child)
            }
            b"owner" if owner.is_none() => {
                owner = Some(values(cursor, OWNER)?);
                cursor.nothing(child)
            }
            b"service" if service.is_none() => {
                let found = service.insert(values(cursor, SERVICE)?);
                members(&SERVICE[..CPE], found, &mut self.service)?;
                cpes(cursor, child, &mut self.service)?;
                members(&SERVICE[CPE..], &found[CPE..], &mut self.service)
            }
            b"script" => self.scripts.add(cursor, child),
            _ => Err(Odd),
        })?;
        let described = service.is_some();
        let (state, service) = (state.unwrap_or(NONE), service.unwrap_or(NONE));
        self.index(protocol, number, &state, &service)?;
        self.words(protocol, number, &state, &service)?;
        self.port(protocol, number, &state, described, &owner.unwrap_or(NONE))?;
        self.parts.push(0);
        if !self.scripts.ids.is_empty() {
            self.parts.push(b',');
            self.scripts.write(&mut self.parts);
            self.parts.pop();
        }
        self.found(&service)
    }

    fn index(&mut self, protocol: Raw, number: Raw, state: &Values, service: &Values) -> Result<()> {
        let out = &mut self.index;
        let probed = service[METHOD].bytes == b"probed";
        if !probed && !service[METHOD].plain {
            return Err(Odd);
        }
        out.extend_from_slice(b"[\"");
        out.extend_from_slice(protocol.bytes);
        out.push(b'/');
        out.extend_from_slice(number.bytes);
        out.extend_from_slice(b"\",");
        string(out, protocol)?;
        out.extend_from_slice(number.bytes);
        out.push(b',');
        string(out, state[STATE_ITSELF])?;
        string(out, state[REASON])?;
        string(out, if probed { service[NAME] } else { NOTHING })?;
        string(out, service[PRODUCT])?;
        string(out, service[VERSION])?;
        close(out, b']');
        Ok(())
    }

    /// Write the number, what begins the record's message, and members of its `network`.
    fn words(&mut self, protocol: Raw, number: Raw, state: &Values, service: &Values) -> Result<()> {
        let out = &mut self.parts;
        out.push(0);
        out.extend_from_slice(number.bytes);
        out.push(0);
        out.extend_from_slice(protocol.bytes);
        out.push(b'/');
        out.extend_from_slice(number.bytes);
        for word in [state[STATE_ITSELF], service[NAME], service[PRODUCT], service[VERSION]] {
            if !word.bytes.is_empty() {
                out.push(b' ');
                text(out, word)?;
            }
        }
        out.push(0);
        if !service[NAME].bytes.is_empty() {
            key(out, "protocol");
            lower_case(out, service[NAME])?;
        }
        key(out, "transport");
        string(out, protocol)
    }

    /// Write `nmap.port`.
    fn port(&mut self, protocol: Raw, number: Raw, state: &Values, described: bool, owner: &Values) -> Result<()> {
        let out = &mut self.parts;
        out.extend_from_slice(b"\0{\"number\":");
        out.extend_from_slice(number.bytes);
        out.push(b',');
        members(OWNER, owner, out)?;
        key(out, "protocol");
        string(out, protocol)?;
        members(&STATE[..STATE_ITSELF], state, out)?;
        if described {
            key(out, "service");
            out.push(b'{');
            out.extend_from_slice(&self.service);
            close(out, b'}');
        }
        members(&STATE[STATE_ITSELF..], &state[STATE_ITSELF..], out)?;
        close(out, b'}');
        out.pop();
        Ok(())
    }

    /// Write ECS's `service`, behind a comma.
    fn found(&mut self, service: &Values) -> Result<()> {
        let out = &mut self.parts;
        out.push(0);
        if !service[NAME].bytes.is_empty() {
            out.extend_from_slice(b",\"service\":{\"type\":");
            lower_case(out, service[NAME])?;
            if !service[VERSION].bytes.is_empty() {
                key(out, "version");
                string(out, service[VERSION])?;
            }
            close(out, b'}');
            out.pop();
        }
        Ok(())
    }

    /// Write the index of all, and the parts of each.
    pub fn write(&self, out: &mut Out) {
        out.push(b'[');
        out.extend_from_slice(&self.index);
        close(out, b']');
        out.pop();
        out.extend_from_slice(&self.parts);
    }
}

fn lower_case(out: &mut Out, raw: Raw) -> Result<()> {
    let start = out.len();
    string(out, raw)?;
    out[start..].make_ascii_lowercase();
    Ok(())
}

/// Write a port, given by its bytes.
pub fn read(data: &[u8], out: &mut Out) -> Result<()> {
    let mut cursor = Cursor::new(data);
    let tag = cursor.start()?;
    if tag.name != b"port" {
        return Err(Odd);
    }
    let mut ports = Ports::default();
    ports.add(&mut cursor, tag)?;
    ports.write(out);
    if cursor.ended() { Ok(()) } else { Err(Odd) }
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
