//! `host` elements, as forwarder/nmap/host.py reads them.

use crate::json::{self, close, key, list, object, string, Out};
use crate::port::{cpes, port, Scripts};
use crate::values::{address, entry, mac, take, Kind, Table};
use crate::xml::{Cursor, Odd, Result, Tag};

const HOST: Table = &[
    ("starttime", "start", Kind::Moment),
    ("endtime", "end", Kind::Moment),
    ("timedout", "timed_out", Kind::Boolean),
    ("comment", "comment", Kind::Text),
];
const STATUS: Table = &[
    ("state", "state", Kind::Text),
    ("reason", "reason", Kind::Text),
    ("reason_ttl", "reason_ttl", Kind::Natural),
    ("reason_ip", "reason_ip", Kind::Address),
];
const HOSTNAME: Table = &[("name", "name", Kind::Text), ("type", "type", Kind::Text)];
const OS_MATCH: Table =
    &[("name", "name", Kind::Text), ("accuracy", "accuracy", Kind::Natural), ("line", "line", Kind::Natural)];
const OS_CLASS: Table = &[
    ("vendor", "vendor", Kind::Text),
    ("osfamily", "family", Kind::Text),
    ("osgen", "generation", Kind::Text),
    ("type", "type", Kind::Text),
    ("accuracy", "accuracy", Kind::Natural),
];
const PORT_USED: Table =
    &[("state", "state", Kind::Text), ("proto", "protocol", Kind::Text), ("portid", "port", Kind::PortNumber)];
const HOP: Table = &[
    ("ttl", "ttl", Kind::Natural),
    ("ipaddr", "ip", Kind::Address),
    ("rtt", "rtt", Kind::Number),
    ("host", "host", Kind::Text),
];
const EXTRA_PORTS: Table = &[("state", "state", Kind::Text), ("count", "count", Kind::Natural)];
const EXTRA_REASONS: Table = &[
    ("reason", "reason", Kind::Text),
    ("count", "count", Kind::Natural),
    ("proto", "protocol", Kind::Text),
    ("ports", "ports", Kind::Text),
];
const TRACE: Table = &[("proto", "protocol", Kind::Text), ("port", "port", Kind::PortNumber)];
const DISTANCE: Table = &[("value", "distance", Kind::Natural)];
const VALUES: Table = &[("class", "class", Kind::Text), ("values", "values", Kind::Text)];
/// Elements that are one object each.
const SIMPLE: &[(&str, &str, Table)] = &[
    ("uptime", "uptime", &[("seconds", "seconds", Kind::Natural), ("lastboot", "last_boot", Kind::Text)]),
    (
        "tcpsequence",
        "tcp_sequence",
        &[
            ("index", "index", Kind::Integer),
            ("class", "class", Kind::Text),
            ("difficulty", "difficulty", Kind::Text),
            ("values", "values", Kind::Text),
        ],
    ),
    ("ipidsequence", "ip_id_sequence", VALUES),
    ("tcptssequence", "tcp_ts_sequence", VALUES),
    (
        "times",
        "rtt",
        &[("srtt", "srtt", Kind::Integer), ("rttvar", "rttvar", Kind::Integer), ("to", "timeout", Kind::Integer)],
    ),
    ("smurf", "smurf", &[("responses", "responses", Kind::Natural)]),
];

/// What is gathered of a host while its children come.
#[derive(Default)]
struct Parts<'a> {
    address: Out,
    hostname: Out,
    extra_ports: Out,
    ports: Out,
    scripts: Scripts,
    once: Vec<&'a [u8]>,
}

/// Write `{"head": …, "ports": […]}` of a host's bytes.
pub fn read(data: &[u8], out: &mut Out) -> Result<()> {
    let mut cursor = Cursor::new(data);
    let tag = cursor.start()?;
    if tag.name != b"host" {
        return Err(Odd);
    }
    let mut parts = Parts { ports: Out::with_capacity(data.len()), ..Parts::default() };
    out.extend_from_slice(b"{\"head\":");
    object(out, |out| {
        take(&cursor, HOST, out)?;
        cursor.children(tag, |cursor, child| part(cursor, child, out, &mut parts))?;
        list(out, "address", &parts.address);
        list(out, "hostname", &parts.hostname);
        list(out, "extra_ports", &parts.extra_ports);
        Ok(())
    })?;
    out.extend_from_slice(b"\"ports\":[");
    out.extend_from_slice(&parts.ports);
    close(out, b']');
    close(out, b'}');
    out.pop(); // the comma behind the whole
    if cursor.ended() { Ok(()) } else { Err(Odd) }
}

fn part<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out, parts: &mut Parts<'a>) -> Result<()> {
    match tag.name {
        b"status" => take(cursor, STATUS, out)?,
        b"distance" => take(cursor, DISTANCE, out)?,
        b"address" => address_entry(cursor, &mut parts.address)?,
        b"hostnames" => {
            return cursor.children(tag, |cursor, child| match child.name {
                b"hostname" => entry(cursor, child, HOSTNAME, &mut parts.hostname),
                _ => Err(Odd),
            });
        }
        b"ports" => return ports(cursor, tag, parts),
        b"hostscript" => return once(tag, parts).and_then(|()| host_scripts(cursor, tag, out, &mut parts.scripts)),
        b"os" => return once(tag, parts).and_then(|()| os(cursor, tag, out)),
        b"trace" => return once(tag, parts).and_then(|()| trace(cursor, tag, out)),
        name => {
            once(tag, parts)?;
            let (_, ours, table) = SIMPLE.iter().find(|(theirs, ..)| theirs.as_bytes() == name).ok_or(Odd)?;
            key(out, ours);
            object(out, |out| take(cursor, table, out))?;
        }
    }
    cursor.nothing(tag)
}

/// Find it odd that an element comes a second time: then the two are one object.
fn once<'a>(tag: Tag<'a>, parts: &mut Parts<'a>) -> Result<()> {
    if parts.once.contains(&tag.name) {
        return Err(Odd);
    }
    parts.once.push(tag.name);
    Ok(())
}

fn address_entry(cursor: &Cursor, out: &mut Out) -> Result<()> {
    let [text, kind, vendor] = cursor.known(["addr", "addrtype", "vendor"])?;
    object(out, |out| {
        key(out, "addr");
        match kind.bytes {
            b"mac" => mac(out, text)?,
            b"ipv4" | b"ipv6" => address(out, text)?,
            _ => return Err(Odd),
        }
        key(out, "type");
        string(out, kind)?;
        if !vendor.bytes.is_empty() {
            key(out, "vendor");
            string(out, vendor)?;
        }
        Ok(())
    })
}

fn ports<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, parts: &mut Parts<'a>) -> Result<()> {
    cursor.children(tag, |cursor, child| match child.name {
        b"port" => port(cursor, child, &mut parts.ports, &mut parts.scripts),
        b"extraports" => object(&mut parts.extra_ports, |out| {
            take(cursor, EXTRA_PORTS, out)?;
            json::children(cursor, child, out, "reasons", |cursor, reason, out| match reason.name {
                b"extrareasons" => entry(cursor, reason, EXTRA_REASONS, out),
                _ => Err(Odd),
            })
        }),
        _ => Err(Odd),
    })
}

fn host_scripts<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out, scripts: &mut Scripts) -> Result<()> {
    scripts.clear();
    cursor.children(tag, |cursor, child| match child.name {
        b"script" => scripts.add(cursor, child),
        _ => Err(Odd),
    })?;
    scripts.write(out);
    Ok(())
}

fn os<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out) -> Result<()> {
    let (mut matches, mut classes, mut used, mut prints) = (Out::new(), Out::new(), Out::new(), Out::new());
    cursor.children(tag, |cursor, child| match child.name {
        b"osmatch" => object(&mut matches, |out| {
            take(cursor, OS_MATCH, out)?;
            json::children(cursor, child, out, "class", |cursor, item, out| match item.name {
                b"osclass" => os_class(cursor, item, out),
                _ => Err(Odd),
            })
        }),
        b"osclass" => os_class(cursor, child, &mut classes),
        b"portused" => entry(cursor, child, PORT_USED, &mut used),
        b"osfingerprint" => {
            let [fingerprint] = cursor.known(["fingerprint"])?;
            string(&mut prints, fingerprint)?;
            cursor.nothing(child)
        }
        _ => Err(Odd),
    })?;
    key(out, "os");
    object(out, |out| {
        list(out, "match", &matches);
        list(out, "class", &classes);
        list(out, "port_used", &used);
        list(out, "fingerprint", &prints);
        Ok(())
    })
}

fn os_class<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out) -> Result<()> {
    object(out, |out| {
        take(cursor, OS_CLASS, out)?;
        cpes(cursor, tag, out)
    })
}

fn trace<'a>(cursor: &mut Cursor<'a>, tag: Tag<'a>, out: &mut Out) -> Result<()> {
    key(out, "trace");
    object(out, |out| {
        take(cursor, TRACE, out)?;
        let mut hops = Out::new();
        cursor.children(tag, |cursor, child| match child.name {
            b"hop" => {
                cursor.attributes.retain(|(name, value)| !(*name == b"rtt" && value.bytes == b"--"));
                entry(cursor, child, HOP, &mut hops)
            }
            b"error" => {
                let [said] = cursor.known(["errorstr"])?;
                key(out, "error");
                string(out, said)?;
                cursor.nothing(child)
            }
            _ => Err(Odd),
        })?;
        list(out, "hop", &hops);
        Ok(())
    })
}
