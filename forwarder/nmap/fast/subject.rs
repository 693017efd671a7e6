//! A host as all its records name it: what forwarder/ecs/subject.py says.

use crate::host::{Host, MOST_DIFFERENT};
use crate::json::{close, key, text, texts, Out};
use crate::scan::Scan;
use crate::xml::{Odd, Result};

const LONGEST_NAME: usize = 255;

/// What the records of one host have in common.
pub struct Subject<'a> {
    pub ordinal: &'a [u8],
    /// JSON of its time.
    pub time: Out,
    pub source: &'a [u8],
    /// The address that it is known by.
    pub main: &'a [u8],
    pub label: Out,
    /// JSON of `host`, without the brackets: as all its records have it.
    pub facts: Out,
    pub related: Out,
    pub version: &'static [u8],
}

pub fn subject<'a>(scan: &Scan<'a>, host: &'a Host, end: &[u8], ordinal: &'a [u8]) -> Result<Subject<'a>> {
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
