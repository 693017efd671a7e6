//! A host's ports together: what forwarder/ecs/ports.py counts, and what forwarder/history.py keeps of them.

use crate::host::{count, member, Host, MOST_DIFFERENT};
use crate::json::{key, object, put, string, text, Out};
use crate::port::{number, Port};
use crate::ranges;
use crate::scan::Scan;
use crate::subject::Subject;
use crate::xml::{Odd, Raw, Result, NOTHING};
use std::collections::HashSet;

/// In the order of their names.
pub const PROTOCOLS: [&[u8]; 4] = [b"ip", b"sctp", b"tcp", b"udp"];
/// States whose ports have no record of their own by default.
pub const UNREMARKABLE: [&[u8]; 2] = [b"closed", b"filtered"];

/// A host's ports while they go by.
#[derive(Default)]
pub struct Ports<'a> {
    pub recorded: usize,
    pub known: HashSet<(usize, u16)>,
    pub listed: [Vec<u16>; 4],
    pub open: [Vec<u16>; 4],
    pub groups: Vec<(Raw<'a>, usize, Raw<'a>, Vec<u16>)>,
    /// Members of an object: name of a port with a record → JSON of what forwarder/history.py has as Seen. Open ones,
    /// and others.
    pub seen: Out,
    pub others: Out,
}

impl<'a> Ports<'a> {
    pub fn add(&mut self, port: &Port<'a>) -> Result<()> {
        if ![port.state, port.reason, port.service.method].iter().all(|raw| raw.plain) {
            return Err(Odd); // they are compared as they stand
        }
        let protocol = PROTOCOLS.iter().position(|name| *name == port.protocol.bytes).ok_or(Odd)?;
        let number = number(port)?;
        if !self.known.insert((protocol, number)) {
            return Err(Odd); // its second record has another id
        }
        self.listed[protocol].push(number);
        if port.state.bytes == b"open" {
            self.open[protocol].push(number);
        } else if UNREMARKABLE.contains(&port.state.bytes) {
            let same = |group: &&mut (Raw, usize, Raw, Vec<u16>)| {
                group.0.bytes == port.state.bytes && group.1 == protocol && group.2.bytes == port.reason.bytes
            };
            let full = self.groups.len() == MOST_DIFFERENT;
            match self.groups.iter_mut().find(same) {
                Some(group) => group.3.push(number),
                None if full => return Err(Odd),
                None => self.groups.push((port.state, protocol, port.reason, vec![number])),
            }
        }
        Ok(())
    }

    pub fn see(&mut self, scan: &Scan, subject: &Subject, port: &Port) -> Result<()> {
        self.recorded += 1;
        let out = if port.state.bytes == b"open" { &mut self.seen } else { &mut self.others };
        out.push(b'"');
        name(port, out);
        out.extend_from_slice(b"\":[");
        let service = &port.service;
        string(out, port.state)?;
        string(out, if service.method.bytes == b"probed" { service.name } else { NOTHING })?;
        string(out, service.product)?;
        string(out, service.version)?;
        put(out, b"\"\",", &[&subject.time, b",\"", scan.id, b"\"],"]);
        Ok(())
    }

    pub fn open_count(&self) -> usize {
        self.open.iter().map(Vec::len).sum()
    }

    /// Write the entries of `nmap.host.port.group`.
    pub fn groups(&self, scan: &Scan, host: &Host, out: &mut Out) -> Result<()> {
        for (state, protocol, reason, numbers) in &self.groups {
            object(out, |out| {
                count(i64::try_from(numbers.len()).ok(), out);
                key(out, "ports");
                out.push(b'"');
                ranges::write(numbers, out);
                out.extend_from_slice(b"\",");
                key(out, "protocol");
                text(out, PROTOCOLS[*protocol]);
                member("reason", *reason, out)?;
                member("state", *state, out)
            })?;
        }
        for extra in &host.extra {
            let named = extra.reasons.iter().any(|reason| !reason.ports.bytes.is_empty());
            // The ports behind each of several reasons are not known, those of the group may be.
            let apart = matches!(&extra.reasons[..], [only] if only.count == extra.count);
            let mut rest = Out::new();
            if !named && host.extra.len() == 1 && !scan.only.1.is_empty() {
                let listed = PROTOCOLS.iter().position(|name| *name == scan.only.0);
                ranges::without(scan.only.1, listed.map_or(&[], |place| &self.listed[place]), &mut rest);
            }
            for (place, reason) in extra.reasons.iter().enumerate() {
                let last = !named && apart && place + 1 == extra.reasons.len();
                group(
                    reason.count,
                    reason.ports,
                    reason.protocol,
                    reason.reason,
                    extra.state,
                    if last { Some((scan, &rest)) } else { None },
                    out,
                )?;
            }
            if !named && !apart {
                let none = NOTHING;
                group(extra.count, none, none, none, extra.state, Some((scan, &rest)), out)?;
            }
        }
        Ok(())
    }
}

/// Write a group of ports that are not listed, with those that follow from what was scanned.
fn group(
    number: Option<i64>,
    ports: Raw,
    protocol: Raw,
    reason: Raw,
    state: Raw,
    derived: Option<(&Scan, &Out)>,
    out: &mut Out,
) -> Result<()> {
    object(out, |out| {
        count(number, out);
        match derived {
            Some((scan, rest)) if !rest.is_empty() => {
                out.extend_from_slice(b"\"derived\":true,");
                key(out, "ports");
                text(out, rest);
                key(out, "protocol");
                text(out, scan.only.0);
            }
            _ => {
                member("ports", ports, out)?;
                member("protocol", protocol, out)?;
            }
        }
        member("reason", reason, out)?;
        member("state", state, out)
    })
}

/// Write a port's name.
pub fn name(port: &Port, out: &mut Out) {
    out.extend_from_slice(port.protocol.bytes);
    out.push(b'/');
    out.extend_from_slice(port.number.bytes);
}
