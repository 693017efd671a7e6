//! What the records of a scan's hosts have in common, as forwarder/ecs/usual.py gives it.

use crate::script::Understood;
use crate::sha256::Sha256;
use crate::values::digits;
use crate::xml::{Odd, Result};

/// What the records of a scan's hosts have in common.
pub struct Scan<'a> {
    pub id: &'a [u8],
    /// What is hashed before the rest: for event.id of ports and of hosts, and for host.id.
    pub port_id: Sha256,
    pub event_id: Sha256,
    pub host_id: Sha256,
    /// Time of a host that has none of its own, and where it is from.
    pub time: &'a [u8],
    pub source: &'a [u8],
    pub os_accuracy: i64,
    /// nmap's family of operating systems → ECS's type: `family=type` in lines.
    pub os_types: &'a [u8],
    pub all_ports: bool,
    /// `nmap.host.port.scanned`, empty for none.
    pub scanned: &'a [u8],
    /// Protocol and ports of the only list that was scanned.
    pub only: (&'a [u8], &'a [u8]),
    /// What is between the holes of templates.
    pub port: [&'a [u8]; 14],
    pub host: [&'a [u8]; 12],
    pub understood: Understood<'a>,
    /// `nmap.target` of the host at hand.
    pub target: &'a [u8],
}

impl<'a> Scan<'a> {
    /// Read eight lists of parts; before each list is its length, before each part its own, in four bytes each.
    pub fn new(mut data: &'a [u8], target: &'a [u8]) -> Result<Self> {
        let mut lists: [Vec<&[u8]>; 8] = Default::default();
        for list in &mut lists {
            for _ in 0..length(&mut data)? {
                let size = length(&mut data)?;
                let (part, rest) = (data.get(..size).ok_or(Odd)?, &data[size..]);
                list.push(part);
                data = rest;
            }
        }
        let [facts, port, host, titles, servers, host_keys, names, parts] = lists;
        let [id, port_id, event_id, host_id, time, source, accuracy, os_types, all, scanned, protocol, only] =
            <[&[u8]; 12]>::try_from(facts).map_err(|_| Odd)?;
        Ok(Scan {
            id,
            port_id: Sha256::new(port_id),
            event_id: Sha256::new(event_id),
            host_id: Sha256::new(host_id),
            time,
            source,
            os_accuracy: digits(accuracy)?,
            os_types,
            all_ports: all == b"1",
            scanned,
            only: (protocol, only),
            port: port.try_into().map_err(|_| Odd)?,
            host: host.try_into().map_err(|_| Odd)?,
            understood: Understood { titles, servers, host_keys, names, parts },
            target,
        })
    }

    pub fn os_type(&self, family: &[u8]) -> Option<&'a [u8]> {
        self.os_types.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(family)?.strip_prefix(b"="))
    }
}

fn length(data: &mut &[u8]) -> Result<usize> {
    let bytes = data.get(..4).and_then(|bytes| bytes.try_into().ok()).ok_or(Odd)?;
    *data = &data[4..];
    Ok(u32::from_le_bytes(bytes) as usize)
}
