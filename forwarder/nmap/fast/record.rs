//! Host and port records as canonical JSON: what forwarder/ecs/hosts.py makes of the same host, or nothing.
//!
//! What a record holds beside the host's own facts comes from there, as a template: the record with a hole (a NUL) for
//! each of these, in the order that canonical JSON has them in. What it says of the address (`nmap.target`) is given, too.

use crate::host::{member, parse, Class, Host, Match};
use crate::json::{close, decoded, key, list, object, optional, print, put, text, Members, Out};
use crate::port::Port;
use crate::ports::{name, Ports, PROTOCOLS, UNREMARKABLE};
use crate::scan::Scan;
use crate::script::{first, found, Scripts};
use crate::subject::{subject, Subject};
use crate::values::digits;
use crate::xml::{Odd, Raw, Result, NOTHING};

const SHORT: usize = 1000;
/// Bytes of a host's records; those of another are made one after the other, so that they need not fit into memory.
const MOST: usize = 1 << 24;
/// Stands in the record of a port with scripts that are asked for: where members of `nmap` belong that come between
/// `host` and `port`, around `script`, and behind `time`.
const MARK: &[u8] = &[3];

/// Write a host's records, ports first, then its open ports as what is known of it, then what comparing and counting
/// it takes; each as a line of JSON.
pub fn records(data: &[u8], scan: &[u8], ordinal: usize, target: &[u8], out: &mut Out) -> Result<()> {
    let mut scan = Scan::new(scan, target)?;
    let mut host = parse(data, Scripts::new(std::mem::take(&mut scan.understood)))?;
    let mut facts = std::mem::take(&mut host.facts);
    let ordinal = ordinal.to_string();
    let subject = subject(&scan, &host, facts.get("end"), ordinal.as_bytes())?;
    let mut ports = Ports::default();
    let mut asked = Out::new();
    for port in &host.ports {
        ports.add(port)?;
        if scan.all_ports || !UNREMARKABLE.contains(&port.state.bytes) || !port.script.is_empty() {
            let found = found(port)?;
            if found.is_none() {
                print(&mut asked, ports.recorded);
                asked.push(b',');
            }
            ports.see(&scan, &subject, port)?;
            port_record(&scan, &subject, &host.arena, port, found, out)?;
            out.push(b'\n');
            if out.len() > MOST {
                return Err(Odd);
            }
        }
    }
    if host.asked {
        print(&mut asked, ports.recorded);
    }
    if !asked.is_empty() && subject.facts.len() + subject.related.len() > SHORT {
        return Err(Odd); // which each of thousands of findings would repeat, all in memory
    }
    let mut groups = Out::new();
    ports.groups(&scan, &host, &mut groups)?;
    let said = said(&subject, &facts, &ports, &asked, &groups)?;
    host_record(&scan, &subject, &host, &mut facts, &ports, &groups, out)?;
    out.extend_from_slice(b"\n{");
    out.extend_from_slice(&ports.seen);
    close(out, b'}');
    out.pop();
    out.push(b'\n');
    out.extend_from_slice(&said);
    Ok(())
}

/// Return what comparing and counting a host takes.
fn said(subject: &Subject, facts: &Members, ports: &Ports, asked: &[u8], groups: &[u8]) -> Result<Out> {
    let mut said = Out::new();
    object(&mut said, |out| {
        list(out, "asked", asked);
        key(out, "facts");
        object(out, |out| {
            out.extend_from_slice(&subject.facts);
            Ok(())
        })?;
        list(out, "group", groups);
        for name in ["end", "reason", "state", "timed_out"] {
            let value = facts.get(name);
            if !value.is_empty() {
                key(out, name);
                put(out, value, &[b","]);
            }
        }
        key(out, "open");
        print(out, ports.open_count());
        out.push(b',');
        if !ports.others.is_empty() {
            key(out, "others");
            put(out, b"{", &[&ports.others]);
            close(out, b'}');
        }
        key(out, "records");
        print(out, ports.recorded + 1);
        out.push(b',');
        key(out, "time");
        out.extend_from_slice(&subject.time);
        Ok(())
    })?;
    said.pop(); // the comma
    Ok(said)
}

/// Write the record of a port; `found` are its `nmap.http` and `nmap.ssh`, None where Python finishes the record.
fn port_record(
    scan: &Scan,
    subject: &Subject,
    arena: &[u8],
    port: &Port,
    found: Option<[Out; 2]>,
    out: &mut Out,
) -> Result<()> {
    #[rustfmt::skip]
    let [
        start, after_time, after_destination, after_id, after_host, after_message, after_network, after_ordinal,
        after_port, after_script, after_target, after_source, after_related, end,
    ] = scan.port;
    let service = &port.service;
    let is_ip = port.protocol.bytes == b"ip";
    let number = port.number.bytes;
    out.extend_from_slice(start);
    out.extend_from_slice(&subject.time);
    put(out, after_time, &[b"{\"ip\":\"", subject.main, b"\""]);
    if !is_ip {
        put(out, b",\"port\":", &[number]);
    }
    put(out, b"}", &[after_destination]);
    let mut hash = scan.port_id.clone();
    for part in [subject.ordinal, b"\n", port.protocol.bytes, b"/", number, b"\n0"] {
        hash.update(part);
    }
    put(out, &hash.hex(), &[after_id, b"{", &subject.facts]);
    close(out, b'}');
    out.pop();
    out.extend_from_slice(after_host);
    message(subject, port, out)?;
    out.extend_from_slice(after_message);
    out.push(b'{');
    if is_ip {
        put(out, b"\"iana_number\":\"", &[number, b"\","]);
    }
    let kind = lower(service.name)?;
    optional("protocol", &kind, out);
    if !is_ip {
        put(out, b"\"transport\":\"", &[port.protocol.bytes, b"\","]);
    }
    let mark: &[u8] = if found.is_none() { MARK } else { b"" };
    let (close_host, after_ordinal) = after_ordinal.split_at(1);
    put(out, b"\"type\":\"", &[subject.version, b"\"}", after_network, subject.ordinal, close_host, mark]);
    let [http, ssh] = found.unwrap_or_default();
    out.extend_from_slice(&http);
    out.extend_from_slice(after_ordinal);
    put(out, &arena[port.json.clone()], &[after_port]);
    if !port.script.is_empty() {
        put(out, b",\"script\":", &[mark, &arena[port.script.clone()], &ssh, mark]);
    }
    let (close_time, after_source) = after_source.split_at(1);
    put(out, after_script, &[scan.target, after_target, b"\"", subject.source, b"\"", close_time, mark, after_source]);
    put(out, &subject.related, &[after_related]);
    if !kind.is_empty() {
        out.extend_from_slice(b",\"service\":{\"type\":");
        text(out, &kind);
        member("version", service.version, out)?;
        close(out, b'}');
        out.pop();
    }
    out.extend_from_slice(end);
    Ok(())
}

fn lower(raw: Raw) -> Result<Out> {
    if raw.plain {
        Ok(raw.bytes.to_ascii_lowercase())
    } else {
        Err(Odd)
    }
}

fn message(subject: &Subject, port: &Port, out: &mut Out) -> Result<()> {
    let mut words = Out::with_capacity(128);
    name(port, &mut words);
    let service = &port.service;
    for raw in [port.state, service.name, service.product, service.version] {
        if !raw.bytes.is_empty() {
            words.push(b' ');
            words.extend_from_slice(&decoded(raw)?);
        }
    }
    words.extend_from_slice(b" on ");
    words.extend_from_slice(&subject.label);
    text(out, first(std::str::from_utf8(&words).map_err(|_| Odd)?, SHORT).as_bytes());
    out.pop();
    Ok(())
}

fn host_record(
    scan: &Scan,
    subject: &Subject,
    host: &Host,
    facts: &mut Members,
    ports: &Ports,
    groups: &[u8],
    out: &mut Out,
) -> Result<()> {
    #[rustfmt::skip]
    let [
        start, after_time, after_end, after_id, after_start, after_host, after_message, after_body, after_script,
        after_target, after_source, end,
    ] = scan.host;
    out.extend_from_slice(start);
    out.extend_from_slice(&subject.time);
    out.extend_from_slice(after_time);
    for (name, after) in [("end", after_end), ("start", after_start)] {
        let moment = facts.get(name);
        if !moment.is_empty() {
            out.push(b',');
            key(out, name);
            out.extend_from_slice(moment);
        }
        out.extend_from_slice(after);
        if name == "end" {
            let mut hash = scan.event_id.clone();
            hash.update(subject.ordinal);
            hash.update(b"\n\n0");
            put(out, &hash.hex(), &[after_id]);
        }
    }
    out.push(b'{');
    out.extend_from_slice(&subject.facts);
    os(scan, host, out)?;
    if let Some(seconds) = host.uptime.filter(|seconds| !seconds.bytes.is_empty()) {
        key(out, "uptime");
        print(out, digits(seconds.bytes)?);
        out.push(b',');
    }
    close(out, b'}');
    out.pop();
    out.extend_from_slice(after_host);
    let state = match facts.get("state") {
        b"" => b"listed",
        json if json.contains(&b'\\') => return Err(Odd),
        json => &json[1..json.len() - 1],
    };
    let open = ports.open_count().to_string();
    text(out, &[&subject.label[..], b" is ", state, b", ", open.as_bytes(), b" open ports"].concat());
    out.pop();
    out.extend_from_slice(after_message);
    body(scan, subject, host, facts, ports, groups)?;
    out.push(b'{');
    facts.write(out);
    close(out, b'}');
    out.pop();
    out.extend_from_slice(after_body);
    if !host.script.is_empty() {
        put(out, b",\"script\":", &[&host.script]);
    }
    put(out, after_script, &[scan.target, after_target, b"\"", subject.source, b"\"", after_source]);
    put(out, &subject.related, &[end]);
    Ok(())
}

/// Complete nmap's facts of a host to `nmap.host`.
fn body(scan: &Scan, subject: &Subject, host: &Host, facts: &mut Members, ports: &Ports, groups: &[u8]) -> Result<()> {
    facts.list("address", &host.address)?;
    facts.list("hostname", &host.hostname)?;
    let ordinal = facts.add("ordinal")?;
    put(ordinal, subject.ordinal, &[b","]);
    object(facts.add("port")?, |out| {
        list(out, "group", groups);
        key(out, "listed");
        print(out, ports.known.len());
        out.push(b',');
        let open = ports.open_count();
        if open > 0 {
            key(out, "open");
            out.push(b'{');
            for (protocol, numbers) in PROTOCOLS.iter().zip(&ports.open).filter(|(_, numbers)| !numbers.is_empty()) {
                put(out, b"\"", &[protocol, b"\":["]);
                for number in numbers {
                    print(out, number);
                    out.push(b',');
                }
                close(out, b']');
            }
            close(out, b'}');
        }
        key(out, "open_count");
        print(out, open);
        out.push(b',');
        if !scan.scanned.is_empty() {
            key(out, "scanned");
            put(out, scan.scanned, &[b","]);
        }
        Ok(())
    })
}

/// Write host.os for the best match, if nmap is sure enough of it.
fn os(scan: &Scan, host: &Host, out: &mut Out) -> Result<()> {
    let mut best: Option<&Match> = None;
    for found in &host.matches {
        let accuracy = found.accuracy.ok_or(Odd)?;
        if accuracy >= scan.os_accuracy && best.map_or(true, |other| other.accuracy < found.accuracy) {
            best = Some(found);
        }
    }
    let best = match best {
        Some(best) => best,
        None => return Ok(()),
    };
    let start = out.len();
    key(out, "os");
    out.push(b'{');
    let empty = out.len();
    let none = Class { family: NOTHING, generation: NOTHING, vendor: NOTHING };
    let Class { family, generation, vendor } = best.class.unwrap_or(none);
    if !vendor.plain {
        return Err(Odd); // it is compared as it stands
    }
    let family_lower = lower(family)?;
    optional("family", &family_lower, out);
    member("full", best.name, out)?;
    member("name", family, out)?;
    if let Some(kind) = scan.os_type(&family_lower) {
        if kind != b"ios" || vendor.bytes == b"Apple" {
            key(out, "type");
            text(out, kind);
        }
    }
    member("version", generation, out)?;
    if out.len() == empty {
        out.truncate(start);
    } else {
        close(out, b'}');
    }
    Ok(())
}
