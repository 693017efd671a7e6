//! `host` elements, as forwarder/nmap/host.py reads them.

use crate::json::{self, close, key, list, object, print, string, Members, Out};
use crate::port::{cpes, dicts, port, Port};
use crate::script::Scripts;
use crate::values::{add, address, digits, entry, mac, slots, take, write, Kind, Table};
use crate::xml::{characters, Cursor, Odd, Raw, Result, Tag, NOTHING};

const HOST: Table = &[
    ("comment", "comment", Kind::Text),
    ("endtime", "end", Kind::Moment),
    ("starttime", "start", Kind::Moment),
    ("timedout", "timed_out", Kind::Boolean),
];
const STATUS: Table = &[
    ("reason", "reason", Kind::Text),
    ("reason_ip", "reason_ip", Kind::Address),
    ("reason_ttl", "reason_ttl", Kind::Natural),
    ("state", "state", Kind::Text),
];
const HOSTNAME: Table = &[("name", "name", Kind::Text), ("type", "type", Kind::Text)];
const OS_MATCH: Table =
    &[("accuracy", "accuracy", Kind::Natural), ("line", "line", Kind::Natural), ("name", "name", Kind::Text)];
const OS_CLASS: Table = &[
    ("accuracy", "accuracy", Kind::Natural),
    ("osfamily", "family", Kind::Text),
    ("osgen", "generation", Kind::Text),
    ("type", "type", Kind::Text),
    ("vendor", "vendor", Kind::Text),
];
const PORT_USED: Table =
    &[("portid", "port", Kind::PortNumber), ("proto", "protocol", Kind::Text), ("state", "state", Kind::Text)];
const HOP: Table = &[
    ("host", "host", Kind::Text),
    ("ipaddr", "ip", Kind::Address),
    ("rtt", "rtt", Kind::Number),
    ("ttl", "ttl", Kind::Natural),
];
const TRACE: Table = &[("port", "port", Kind::PortNumber), ("proto", "protocol", Kind::Text)];
const DISTANCE: Table = &[("value", "distance", Kind::Natural)];
const VALUES: Table = &[("class", "class", Kind::Text), ("values", "values", Kind::Text)];
/// Addresses of a host, names, or groups of its ports; they are told apart by comparing each with all others.
pub const MOST_DIFFERENT: usize = 256;
/// Elements that are one object each.
const SIMPLE: &[(&str, &str, Table)] = &[
    ("uptime", "uptime", &[("lastboot", "last_boot", Kind::Text), ("seconds", "seconds", Kind::Natural)]),
    (
        "tcpsequence",
        "tcp_sequence",
        &[
            ("class", "class", Kind::Text),
            ("difficulty", "difficulty", Kind::Text),
            ("index", "index", Kind::Integer),
            ("values", "values", Kind::Text),
        ],
    ),
    ("ipidsequence", "ip_id_sequence", VALUES),
    ("tcptssequence", "tcp_ts_sequence", VALUES),
    (
        "times",
        "rtt",
        &[("rttvar", "rttvar", Kind::Integer), ("srtt", "srtt", Kind::Integer), ("to", "timeout", Kind::Integer)],
    ),
    ("smurf", "smurf", &[("responses", "responses", Kind::Natural)]),
];

/// A host that was read.
#[derive(Default)]
pub struct Host<'a> {
    /// Its facts, without addresses, names, ports and scripts.
    pub facts: Members,
    /// Entries of `address` and `hostname`.
    pub address: Out,
    pub hostname: Out,
    /// Its addresses as they are in JSON, without repeated ones.
    pub ips: Vec<Out>,
    pub macs: Vec<Out>,
    /// Name and type.
    pub names: Vec<(Raw<'a>, Raw<'a>)>,
    pub extra: Vec<Extra<'a>>,
    pub matches: Vec<Match<'a>>,
    /// Seconds, as they are written.
    pub uptime: Option<Raw<'a>>,
    pub ports: Vec<Port<'a>>,
    /// JSON that ports are parts of.
    pub arena: Out,
    /// JSON of its scripts, empty without any.
    pub script: Out,
    /// What one of them says has to be told in Python.
    pub asked: bool,
    scripts: Scripts<'a>,
    once: Vec<&'a [u8]>,
}

/// Ports that nmap counts, and does not list.
pub struct Extra<'a> {
    pub state: Raw<'a>,
    pub count: Option<i64>,
    pub reasons: Vec<Reason<'a>>,
}

pub struct Reason<'a> {
    pub reason: Raw<'a>,
    pub count: Option<i64>,
    pub protocol: Raw<'a>,
    pub ports: Raw<'a>,
}

/// A guess at the operating system, with its first class.
pub struct Match<'a> {
    pub accuracy: Option<i64>,
    pub name: Raw<'a>,
    pub class: Option<Class<'a>>,
}

#[derive(Clone, Copy)]
pub struct Class<'a> {
    pub family: Raw<'a>,
    pub generation: Raw<'a>,
    pub vendor: Raw<'a>,
}

/// Write `{"head": …, "ports": […]}` of a host's bytes.
pub fn read(data: &[u8], out: &mut Out) -> Result<()> {
    let host = parse(data, Scripts::default())?;
    out.extend_from_slice(b"{\"head\":");
    object(out, |out| {
        host.facts.write(out);
        list(out, "address", &host.address);
        list(out, "hostname", &host.hostname);
        extra_ports(&host.extra, out)?;
        if !host.script.is_empty() {
            key(out, "script");
            out.extend_from_slice(&host.script);
            out.push(b',');
        }
        Ok(())
    })?;
    out.extend_from_slice(b"\"ports\":[");
    dicts(&host.ports, &host.arena, out);
    close(out, b']');
    close(out, b'}');
    out.pop(); // the comma behind the whole
    Ok(())
}

fn extra_ports(extra: &[Extra], out: &mut Out) -> Result<()> {
    if extra.is_empty() {
        return Ok(());
    }
    key(out, "extra_ports");
    out.push(b'[');
    for group in extra {
        object(out, |out| {
            count(group.count, out);
            if !group.reasons.is_empty() {
                key(out, "reasons");
                out.push(b'[');
                for reason in &group.reasons {
                    object(out, |out| {
                        count(reason.count, out);
                        member("ports", reason.ports, out)?;
                        member("protocol", reason.protocol, out)?;
                        member("reason", reason.reason, out)
                    })?;
                }
                close(out, b']');
            }
            member("state", group.state, out)
        })?;
    }
    close(out, b']');
    Ok(())
}

/// Write the member `count`, if there is one.
pub fn count(number: Option<i64>, out: &mut Out) {
    if let Some(number) = number {
        key(out, "count");
        print(out, number);
        out.push(b',');
    }
}

/// Write a member that is a text, if it is not empty.
pub fn member(name: &str, text: Raw, out: &mut Out) -> Result<()> {
    if text.bytes.is_empty() {
        return Ok(());
    }
    key(out, name);
    string(out, text)
}

/// Read a host, given by its bytes.
pub fn parse<'a>(data: &'a [u8], scripts: Scripts<'a>) -> Result<Host<'a>> {
    characters(data)?;
    let mut cursor = Cursor::new(data);
    let tag = cursor.start()?;
    if tag.name != b"host" {
        return Err(Odd);
    }
    let mut host = Host { arena: Out::with_capacity(data.len()), scripts, ..Host::default() };
    add(&cursor, HOST, &mut host.facts)?;
    cursor.children(tag, |cursor, child| part(cursor, child, &mut host))?;
    if cursor.ended() {
        Ok(host)
    } else {
        Err(Odd)
    }
}

fn part<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, host: &mut Host<'a>) -> Result<()> {
    match tag.name {
        b"status" => add(cursor, STATUS, &mut host.facts)?,
        b"distance" => add(cursor, DISTANCE, &mut host.facts)?,
        b"address" => address_entry(cursor, host)?,
        b"hostnames" => {
            return cursor.children(tag, |cursor, child| match child.name {
                b"hostname" => {
                    let [name, kind] = cursor.known(["name", "type"])?;
                    host.names.push((name, kind));
                    entry(cursor, child, HOSTNAME, &mut host.hostname)
                }
                _ => Err(Odd),
            });
        }
        b"ports" => return ports(cursor, tag, host),
        b"hostscript" => return once(tag, host).and_then(|()| host_scripts(cursor, tag, host)),
        b"os" => return once(tag, host).and_then(|()| os(cursor, tag, host)),
        b"trace" => return once(tag, host).and_then(|()| trace(cursor, tag, &mut host.facts)),
        name => {
            once(tag, host)?;
            let &(theirs, ours, table) = SIMPLE.iter().find(|(theirs, ..)| theirs.as_bytes() == name).ok_or(Odd)?;
            if theirs == "uptime" {
                host.uptime = Some(cursor.get("seconds"));
            }
            object(host.facts.add(ours)?, |out| take(cursor, table, out))?;
        }
    }
    cursor.nothing(tag)
}

/// Find it odd that an element comes a second time: then the two are one object.
fn once<'a>(tag: Tag<'a>, host: &mut Host<'a>) -> Result<()> {
    if host.once.contains(&tag.name) {
        return Err(Odd);
    }
    host.once.push(tag.name);
    Ok(())
}

fn address_entry(cursor: &Cursor, host: &mut Host) -> Result<()> {
    let [text, kind, vendor] = cursor.known(["addr", "addrtype", "vendor"])?;
    let addresses = if kind.bytes == b"mac" { &mut host.macs } else { &mut host.ips };
    object(&mut host.address, |out| {
        key(out, "addr");
        let start = out.len() + 1;
        match kind.bytes {
            b"mac" => mac(out, text)?,
            b"ipv4" | b"ipv6" => address(out, text)?,
            _ => return Err(Odd),
        }
        let written = out[start..out.len() - 2].to_vec();
        if !addresses.contains(&written) {
            if addresses.len() == MOST_DIFFERENT {
                return Err(Odd);
            }
            addresses.push(written);
        }
        key(out, "type");
        string(out, kind)?;
        member("vendor", vendor, out)
    })
}

fn ports<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, host: &mut Host<'a>) -> Result<()> {
    cursor.children(tag, |cursor, child| match child.name {
        b"port" => {
            let found = port(cursor, child, &mut host.arena, &mut host.scripts)?;
            host.ports.push(found);
            Ok(())
        }
        b"extraports" => {
            let [state, count] = cursor.known(["state", "count"])?;
            let mut group = Extra { state, count: natural(count)?, reasons: Vec::new() };
            cursor.children(child, |cursor, child| {
                if child.name != b"extrareasons" {
                    return Err(Odd);
                }
                let [reason, count, protocol, ports] = cursor.known(["reason", "count", "proto", "ports"])?;
                group.reasons.push(Reason { reason, count: natural(count)?, protocol, ports });
                cursor.nothing(child)
            })?;
            host.extra.push(group);
            Ok(())
        }
        _ => Err(Odd),
    })
}

fn natural(raw: Raw) -> Result<Option<i64>> {
    if raw.bytes.is_empty() {
        Ok(None)
    } else {
        digits(raw.bytes).map(Some)
    }
}

fn host_scripts<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, host: &mut Host<'a>) -> Result<()> {
    host.scripts.clear();
    cursor.children(tag, |cursor, child| match child.name {
        b"script" => host.scripts.add(cursor, child),
        _ => Err(Odd),
    })?;
    host.scripts.write(&mut host.script);
    let Scripts { asked, title, server, host_keys, .. } = &host.scripts;
    host.asked = *asked || title.is_some() || server.is_some() || host_keys.is_some();
    Ok(())
}

fn os<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, host: &mut Host<'a>) -> Result<()> {
    let (mut matches, mut classes, mut used, mut prints) = (Out::new(), Out::new(), Out::new(), Out::new());
    cursor.children(tag, |cursor, child| match child.name {
        b"osmatch" => object(&mut matches, |out| {
            let found = slots(cursor, OS_MATCH)?;
            write(out, &OS_MATCH[..1], &found[..1])?;
            let mut first = None;
            json::children(cursor, child, out, "class", |cursor, item, out| match item.name {
                b"osclass" => os_class(cursor, item, out).map(|class| {
                    first.get_or_insert(class);
                }),
                _ => Err(Odd),
            })?;
            host.matches.push(Match { accuracy: natural(found[0])?, name: found[2], class: first });
            write(out, &OS_MATCH[1..], &found[1..])
        }),
        b"osclass" => os_class(cursor, child, &mut classes).map(|_| ()),
        b"portused" => entry(cursor, child, PORT_USED, &mut used),
        b"osfingerprint" => {
            let [fingerprint] = cursor.known(["fingerprint"])?;
            string(&mut prints, fingerprint)?;
            cursor.nothing(child)
        }
        _ => Err(Odd),
    })?;
    object(host.facts.add("os")?, |out| {
        list(out, "class", &classes);
        list(out, "fingerprint", &prints);
        list(out, "match", &matches);
        list(out, "port_used", &used);
        Ok(())
    })
}

fn os_class<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out) -> Result<Class<'a>> {
    let found = slots(cursor, OS_CLASS)?;
    object(out, |out| {
        write(out, &OS_CLASS[..1], &found[..1])?;
        cpes(cursor, tag, out)?;
        write(out, &OS_CLASS[1..], &found[1..])
    })?;
    Ok(Class { family: found[1], generation: found[2], vendor: found[4] })
}

fn trace<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, facts: &mut Members) -> Result<()> {
    let of = slots(cursor, TRACE)?;
    let (mut hops, mut error) = (Out::new(), NOTHING);
    let mut failed = false;
    cursor.children(tag, |cursor, child| match child.name {
        b"hop" => {
            cursor.attributes.retain(|(name, value)| !(*name == b"rtt" && value.bytes == b"--"));
            entry(cursor, child, HOP, &mut hops)
        }
        b"error" if !failed => {
            [error] = cursor.known(["errorstr"])?;
            failed = true;
            cursor.nothing(child)
        }
        _ => Err(Odd),
    })?;
    object(facts.add("trace")?, |out| {
        if failed {
            key(out, "error");
            string(out, error)?;
        }
        list(out, "hop", &hops);
        write(out, TRACE, &of)
    })
}
