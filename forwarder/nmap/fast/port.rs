//! `port` elements, as forwarder/nmap/port.py reads them.

use crate::json::{self, close, key, object, string, Out};
use crate::script::{Rows, Scripts};
use crate::values::{digits, slots, value, write, Kind, Table, MOST};
use crate::xml::{characters, Cursor, Odd, Raw, Result, Tag, NOTHING};
use std::ops::Range;

const STATE: Table = &[
    ("reason", "reason", Kind::Text),
    ("reason_ip", "reason_ip", Kind::Address),
    ("reason_ttl", "reason_ttl", Kind::Natural),
    ("state", "state", Kind::Text),
];
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

/// A port that was read.
pub struct Port<'a> {
    pub protocol: Raw<'a>,
    /// As it is written; a number that a port can have, or nothing.
    pub number: Raw<'a>,
    pub state: Raw<'a>,
    pub reason: Raw<'a>,
    pub service: Service<'a>,
    /// Where its canonical JSON is, without its scripts.
    pub json: Range<usize>,
    /// Where that of its scripts is; empty without any.
    pub script: Range<usize>,
    /// What one of its scripts says has to be told in Python.
    pub asked: bool,
    /// Title of its page, and where that redirects to.
    pub title: Option<[Raw<'a>; 2]>,
    /// What tells how its web server calls itself.
    pub server: Option<Rows<'a>>,
    /// What tells the keys of its SSH server.
    pub host_keys: Option<Rows<'a>>,
}

/// What a record says of a service outside of nmap's own words.
#[derive(Clone, Copy)]
pub struct Service<'a> {
    pub name: Raw<'a>,
    pub product: Raw<'a>,
    pub version: Raw<'a>,
    pub method: Raw<'a>,
}

const NO_SERVICE: Service = Service { name: NOTHING, product: NOTHING, version: NOTHING, method: NOTHING };

impl Port<'_> {
    /// Write it as a dict and a comma, `id` and `script` with the rest.
    fn write(&self, arena: &[u8], out: &mut Out) {
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(self.protocol.bytes);
        out.push(b'/');
        out.extend_from_slice(self.number.bytes);
        out.extend_from_slice(b"\",");
        out.extend_from_slice(&arena[self.json.start + 1..self.json.end - 1]);
        if !self.script.is_empty() {
            if out.last() != Some(&b',') {
                out.push(b',');
            }
            key(out, "script");
            out.extend_from_slice(&arena[self.script.clone()]);
        }
        close(out, b'}');
    }
}

/// Write ports as dicts, each with a comma.
pub fn dicts(ports: &[Port], arena: &[u8], out: &mut Out) {
    ports.iter().for_each(|port| port.write(arena, out));
}

/// Write a port, given by its bytes.
pub fn read(data: &[u8], out: &mut Out) -> Result<()> {
    characters(data)?;
    let mut cursor = Cursor::new(data);
    let tag = cursor.start()?;
    if tag.name != b"port" {
        return Err(Odd);
    }
    let mut arena = Out::with_capacity(data.len());
    let found = port(&mut cursor, tag, &mut arena, &mut Scripts::default())?;
    found.write(&arena, out);
    out.pop(); // the comma
    if cursor.ended() {
        Ok(())
    } else {
        Err(Odd)
    }
}

/// Read a port, whose start tag was read, and write its JSON to the arena.
pub fn port<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, arena: &mut Out, scripts: &mut Scripts<'a>) -> Result<Port<'a>> {
    scripts.clear();
    let [protocol, number] = cursor.known(["protocol", "portid"])?;
    if !protocol.plain || protocol.bytes.iter().any(u8::is_ascii_uppercase) {
        return Err(Odd); // written in lower case by Python, but not in the id
    }
    let (mut state, mut owner, mut described, mut service) = (None, None, None, NO_SERVICE);
    let start = arena.len();
    cursor.children(tag, |cursor, child| match child.name {
        b"state" if state.is_none() => {
            state = Some(slots(cursor, STATE)?);
            cursor.nothing(child)
        }
        b"owner" if owner.is_none() => {
            owner = Some(cursor.known(["name"])?[0]);
            cursor.nothing(child)
        }
        b"script" => scripts.add(cursor, child),
        b"service" if described.is_none() => {
            let found = slots(cursor, SERVICE)?;
            let get = |name| cursor.get(name);
            service =
                Service { name: get("name"), product: get("product"), version: get("version"), method: get("method") };
            object(arena, |out| {
                write(out, &SERVICE[..1], &found[..1])?;
                cpes(cursor, child, out)?; // whose place in the order of names is here
                write(out, &SERVICE[1..], &found[1..])
            })?;
            described = Some(arena.len());
            Ok(())
        }
        _ => Err(Odd),
    })?;
    // What was written of the service stays in the arena and is repeated in its place: short, as a rule.
    let (described, begin) = (start..described.unwrap_or(start), arena.len());
    let state = state.unwrap_or([NOTHING; MOST]);
    let [reason, reason_ip, reason_ttl, name, ..] = state;
    arena.push(b'{');
    if !number.bytes.is_empty() {
        key(arena, "number");
        value(arena, number, Kind::PortNumber)?;
    }
    for (name, text) in [("owner", owner.unwrap_or(NOTHING)), ("protocol", protocol), ("reason", reason)] {
        if !text.bytes.is_empty() {
            key(arena, name);
            string(arena, text)?;
        }
    }
    if !reason_ip.bytes.is_empty() {
        key(arena, "reason_ip");
        value(arena, reason_ip, Kind::Address)?;
    }
    if !reason_ttl.bytes.is_empty() {
        key(arena, "reason_ttl");
        value(arena, reason_ttl, Kind::Natural)?;
    }
    if !described.is_empty() {
        key(arena, "service");
        arena.extend_from_within(described);
    }
    if !name.bytes.is_empty() {
        key(arena, "state");
        string(arena, name)?;
    }
    close(arena, b'}');
    let json = begin..arena.len() - 1;
    let script = arena.len();
    scripts.write(arena);
    let script = script..arena.len();
    Ok(Port {
        protocol,
        number,
        state: name,
        reason,
        service,
        json,
        script,
        asked: scripts.asked,
        title: scripts.title,
        server: scripts.server,
        host_keys: scripts.host_keys,
    })
}

/// Return a port's number.
pub fn number(port: &Port) -> Result<u16> {
    match port.number.bytes {
        [b'0', _, ..] => Err(Odd), // then its name is not made of its number
        written => u16::try_from(digits(written)?).map_err(|_| Odd),
    }
}

/// Write `cpe` for an element with such children.
pub fn cpes<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out) -> Result<()> {
    json::children(cursor, tag, out, "cpe", |cursor, child, out| {
        if child.name != b"cpe" || !cursor.attributes.is_empty() {
            return Err(Odd);
        }
        let text = cursor.text(child)?;
        if text.bytes.is_empty() {
            Err(Odd)
        } else {
            string(out, text)
        }
    })
}
