//! Host and port records as canonical JSON: what forwarder/ecs/hosts.py makes of the same host, or nothing.
//!
//! What a record holds beside the host's own facts comes from there, as a template: the record with a hole (a NUL) for
//! each of these, in the order that canonical JSON has them in.

use crate::host::{count, member, parse, Class, Host, MOST_DIFFERENT};
use crate::json::{close, decoded, key, list, object, print, string, text, Members, Out};
use crate::port::{number, Port, Scripts, Understood};
use crate::ranges;
use crate::sha256::Sha256;
use crate::values::digits;
use crate::xml::{Odd, Raw, Result, NOTHING};
use std::collections::HashSet;

const PROTOCOLS: [&[u8]; 4] = [b"ip", b"sctp", b"tcp", b"udp"];
const UNREMARKABLE: [&[u8]; 2] = [b"closed", b"filtered"];
const LONGEST_NAME: usize = 255;
const SHORT: usize = 1000;
/// Bytes of a host's records; those of another are made one after the other, so that they need not fit into memory.
const MOST: usize = 1 << 24;
/// Stands in the record of a port with scripts that are asked for: where members of `nmap` belong that come between
/// `host` and `port`, around `script`, and behind `time`.
const MARK: &[u8] = &[3];

/// What the records of a scan's hosts have in common.
struct Scan<'a> {
    id: &'a [u8],
    /// What is hashed before the rest: for event.id of ports and of hosts, and for host.id.
    port_id: Sha256,
    event_id: Sha256,
    host_id: Sha256,
    /// Time of a host that has none of its own, and where it is from.
    time: &'a [u8],
    source: &'a [u8],
    os_accuracy: i64,
    /// nmap's family of operating systems → ECS's type: `family=type` in lines.
    os_types: &'a [u8],
    longest: usize,
    all_ports: bool,
    /// `nmap.host.port.scanned`, empty for none.
    scanned: &'a [u8],
    /// Protocol and ports of the only list that was scanned.
    only: (&'a [u8], &'a [u8]),
    /// What is between the holes of templates.
    port: Vec<&'a [u8]>,
    host: Vec<&'a [u8]>,
    understood: Understood<'a>,
}

impl<'a> Scan<'a> {
    /// Read six lists of parts; before each list is its length, before each part its own, in four bytes each.
    fn new(mut data: &'a [u8]) -> Result<Self> {
        let mut lists: [Vec<&[u8]>; 6] = Default::default();
        for list in &mut lists {
            for _ in 0..length(&mut data)? {
                let size = length(&mut data)?;
                let (part, rest) = (data.get(..size).ok_or(Odd)?, &data[size..]);
                list.push(part);
                data = rest;
            }
        }
        let [facts, port, host, titles, names, parts] = lists;
        let [id, port_id, event_id, host_id, time, source, accuracy, os_types, longest, all, scanned, protocol, only] =
            facts[..]
        else {
            return Err(Odd);
        };
        Ok(Scan {
            id,
            port_id: Sha256::new(port_id),
            event_id: Sha256::new(event_id),
            host_id: Sha256::new(host_id),
            time,
            source,
            os_accuracy: digits(accuracy)?,
            os_types,
            longest: usize::try_from(digits(longest)?).map_err(|_| Odd)?,
            all_ports: all == b"1",
            scanned,
            only: (protocol, only),
            port,
            host,
            understood: Understood { titles, names, parts },
        })
    }

    fn os_type(&self, family: &[u8]) -> Option<&'a [u8]> {
        self.os_types.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(family)?.strip_prefix(b"="))
    }
}

fn length(data: &mut &[u8]) -> Result<usize> {
    let (bytes, rest) = data.split_first_chunk().ok_or(Odd)?;
    *data = rest;
    Ok(u32::from_le_bytes(*bytes) as usize)
}

/// What the records of one host have in common.
struct Subject<'a> {
    ordinal: &'a [u8],
    /// JSON of its time.
    time: Out,
    source: &'a [u8],
    /// The address that it is known by.
    main: &'a [u8],
    label: Out,
    /// JSON of `host`, without the brackets: as all its records have it.
    facts: Out,
    related: Out,
    version: &'static [u8],
}

/// Write a host's records, ports first, then its open ports as what is known of it, then what comparing and counting
/// it takes; each as a line of JSON.
pub fn records(data: &[u8], scan: &[u8], ordinal: usize, out: &mut Out) -> Result<()> {
    let mut scan = Scan::new(scan)?;
    let mut host = parse(data, Scripts::new(std::mem::take(&mut scan.understood)))?;
    let mut facts = std::mem::take(&mut host.facts);
    let ordinal = ordinal.to_string();
    let subject = subject(&scan, &host, facts.get("end"), ordinal.as_bytes())?;
    let mut ports = Ports::default();
    let mut asked = Out::new();
    for port in &host.ports {
        ports.add(port)?;
        if scan.all_ports || !UNREMARKABLE.contains(&port.state.bytes) || !port.script.is_empty() {
            let page = page(port)?;
            if page.is_none() {
                print(&mut asked, ports.recorded);
                asked.push(b',');
            }
            ports.see(&scan, &subject, port)?;
            let start = out.len();
            port_record(&scan, &subject, &host.arena, port, page, out)?;
            within(&scan, &out[start..])?;
            out.push(b'\n');
            if out.len() > MOST {
                return Err(Odd);
            }
        }
    }
    if host.asked {
        print(&mut asked, ports.recorded);
    }
    let mut groups = Out::new();
    ports.groups(&scan, &host, &mut groups)?;
    let said = said(&subject, &facts, &ports, &asked, &groups)?;
    let start = out.len();
    host_record(&scan, &subject, &host, &mut facts, &ports, &groups, out)?;
    within(&scan, &out[start..])?;
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
        key(out, "time");
        out.extend_from_slice(&subject.time);
        Ok(())
    })?;
    said.pop(); // the comma
    Ok(said)
}

fn within(scan: &Scan, line: &[u8]) -> Result<()> {
    if line.len() > scan.longest { Err(Odd) } else { Ok(()) }
}

fn subject<'a>(scan: &Scan<'a>, host: &'a Host, end: &[u8], ordinal: &'a [u8]) -> Result<Subject<'a>> {
    let main = host.ips.first().ok_or(Odd)?.as_slice();
    let mut names: Vec<(Out, &[u8])> = Vec::new();
    for &(name, kind) in &host.names {
        if !name.plain || !kind.plain {
            return Err(Odd);
        }
        if (1..=LONGEST_NAME).contains(&name.bytes.len()) {
            let mut lower = name.bytes.to_ascii_lowercase();
            while lower.last() == Some(&b'.') {
                lower.pop();
            }
            names.push((lower, if kind.bytes.is_empty() { b"PTR" } else { kind.bytes }));
        }
    }
    let domain = [&b"PTR"[..], b"user"].iter().find_map(|wanted| {
        names.iter().find(|(name, kind)| kind == wanted && name.contains(&b'.')).map(|(name, _)| name.as_slice())
    });
    if domain == Some(main) {
        return Err(Odd); // its label cannot be told from its name
    }
    let label = domain.map_or_else(|| main.to_vec(), |name| [name, b" (", main, b")"].concat());
    let mut hash = scan.host_id.clone();
    match host.macs.first() {
        Some(mac) => {
            hash.update(b"mac:");
            hash.update(mac);
        }
        None => {
            hash.update(b"ip:");
            hash.update(main);
        }
    }
    let mut facts = Out::new();
    key(&mut facts, "id");
    text(&mut facts, &hash.hex()[..32]);
    texts("ip", &host.ips, &mut facts);
    texts("mac", &host.macs, &mut facts);
    key(&mut facts, "name");
    text(&mut facts, domain.unwrap_or(main));
    let mut related = vec![b'{'];
    let mut hosts: Vec<Out> = Vec::new();
    for (name, _) in names.iter() {
        if !hosts.contains(name) {
            if hosts.len() == MOST_DIFFERENT {
                return Err(Odd);
            }
            hosts.push(name.clone());
        }
    }
    texts("hosts", &hosts, &mut related);
    texts("ip", &host.ips, &mut related);
    close(&mut related, b'}');
    related.pop();
    let (time, source) = if end.is_empty() {
        ([b"\"", scan.time, b"\""].concat(), scan.source)
    } else {
        (end.to_vec(), &b"host-end"[..])
    };
    let version: &[u8] = if main.contains(&b':') { b"ipv6" } else { b"ipv4" };
    Ok(Subject { ordinal, time, source, main, label, facts, related, version })
}

fn texts(name: &str, values: &[Out], out: &mut Out) {
    if !values.is_empty() {
        key(out, name);
        out.push(b'[');
        values.iter().for_each(|value| text(out, value));
        close(out, b']');
    }
}

/// A host's ports while they go by.
#[derive(Default)]
struct Ports<'a> {
    recorded: usize,
    known: HashSet<(usize, u16)>,
    listed: [Vec<u16>; 4],
    open: [Vec<u16>; 4],
    groups: Vec<(Raw<'a>, usize, Raw<'a>, Vec<u16>)>,
    /// Members of an object: name of a port with a record → JSON of what forwarder/history.py has as Seen. Open ones,
    /// and others.
    seen: Out,
    others: Out,
}

impl<'a> Ports<'a> {
    fn add(&mut self, port: &Port<'a>) -> Result<()> {
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

    fn see(&mut self, scan: &Scan, subject: &Subject, port: &Port) -> Result<()> {
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

    fn open_count(&self) -> usize {
        self.open.iter().map(Vec::len).sum()
    }

    /// Write the entries of `nmap.host.port.group`.
    fn groups(&self, scan: &Scan, host: &Host, out: &mut Out) -> Result<()> {
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
                group(reason.count, reason.ports, reason.protocol, reason.reason, extra.state, if last { Some((scan, &rest)) } else { None }, out)?;
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

fn name(port: &Port, out: &mut Out) {
    out.extend_from_slice(port.protocol.bytes);
    out.push(b'/');
    out.extend_from_slice(port.number.bytes);
}

/// Write the record of a port; `page` is what goes under its `nmap.http`, None where Python finishes the record.
fn port_record(
    scan: &Scan,
    subject: &Subject,
    arena: &[u8],
    port: &Port,
    page: Option<Out>,
    out: &mut Out,
) -> Result<()> {
    let [start, after_time, after_destination, after_id, after_host, after_message, after_network, after_ordinal, after_port, after_script, after_source, after_related, end] =
        scan.port[..]
    else {
        return Err(Odd);
    };
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
    if !kind.is_empty() {
        key(out, "protocol");
        text(out, &kind);
    }
    if !is_ip {
        put(out, b"\"transport\":\"", &[port.protocol.bytes, b"\","]);
    }
    let mark: &[u8] = if page.is_none() { MARK } else { b"" };
    let (close_host, after_ordinal) = after_ordinal.split_at(1);
    put(out, b"\"type\":\"", &[subject.version, b"\"}", after_network, subject.ordinal, close_host, mark]);
    out.extend_from_slice(&page.unwrap_or_default());
    out.extend_from_slice(after_ordinal);
    put(out, &arena[port.json.clone()], &[after_port]);
    if !port.script.is_empty() {
        put(out, b",\"script\":", &[mark, &arena[port.script.clone()], mark]);
    }
    let (close_time, after_source) = after_source.split_at(1);
    put(out, after_script, &[b"\"", subject.source, b"\"", close_time, mark, after_source]);
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

/// Return the member `http` of a port with what forwarder/nse/http.py reads from the title of its page, empty when there
/// is none; None where that, or what another script says, is left to Python.
fn page(port: &Port) -> Result<Option<Out>> {
    let mut found = Out::new();
    if port.asked {
        return Ok(None);
    }
    if let Some([title, redirect]) = port.title {
        let (title, redirect) = (decoded(title)?, decoded(redirect)?);
        if [&title, &redirect].iter().any(|text| text.windows(2).any(|two| two == b"\\x")) {
            return Ok(None); // bytes beyond ASCII
        }
        for (name, value) in [("redirect", clean(&redirect)), ("title", clean(&title))] {
            if !value.is_empty() {
                key(&mut found, name);
                text(&mut found, &value);
            }
        }
        if !found.is_empty() {
            found.pop();
            found = [b",\"http\":{", &found[..], b"}"].concat();
        }
    }
    Ok(Some(found))
}

/// Return a value as `clean` in forwarder/nse/results.py does.
fn clean(text: &[u8]) -> Out {
    let text = &text[..text.len().min(2 * SHORT)];
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut found = words.collect::<Vec<_>>().join(&b' ');
    found.truncate(SHORT);
    while found.last() == Some(&b' ') {
        found.pop();
    }
    found
}

fn put(out: &mut Out, first: &[u8], more: &[&[u8]]) {
    out.extend_from_slice(first);
    more.iter().for_each(|part| out.extend_from_slice(part));
}

fn lower(raw: Raw) -> Result<Out> {
    if raw.plain { Ok(raw.bytes.to_ascii_lowercase()) } else { Err(Odd) }
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
    words.truncate(SHORT);
    text(out, &words);
    out.pop();
    Ok(())
}

fn host_record(scan: &Scan, subject: &Subject, host: &Host, facts: &mut Members, ports: &Ports, groups: &[u8], out: &mut Out) -> Result<()> {
    let [start, after_time, after_end, after_id, after_start, after_host, after_message, after_body, after_script, after_source, end] =
        scan.host[..]
    else {
        return Err(Odd);
    };
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
    put(out, after_script, &[b"\"", subject.source, b"\"", after_source, &subject.related, end]);
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
    let mut best: Option<&crate::host::Match> = None;
    for found in &host.matches {
        let Some(accuracy) = found.accuracy else {
            return Err(Odd);
        };
        if accuracy >= scan.os_accuracy && best.map_or(true, |other| other.accuracy < found.accuracy) {
            best = Some(found);
        }
    }
    let Some(best) = best else {
        return Ok(());
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
    if !family_lower.is_empty() {
        key(out, "family");
        text(out, &family_lower);
    }
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
