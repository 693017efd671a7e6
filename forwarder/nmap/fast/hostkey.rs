//! Host keys of an SSH server, as forwarder/nse/ssh.py reads them from the tables that a script gives.

use crate::base64;
use crate::json::{close, key, list, optional, print, text, Out};
use crate::md5::md5;
use crate::script::{clean, row, Rows, MAX_VALUES};
use crate::sha256::{hex, Sha256};
use crate::values::digits;
use crate::xml::{Cursor, Raw, Result, NOTHING};

/// What a key of the second protocol begins with: the length of its type.
const BEGINNING: &[u8] = b"AAAA";
const LONGEST_TYPE: usize = 127;
const NAMES: [&[u8]; 4] = [b"bits", b"fingerprint", b"key", b"type"];

/// Return the member `ssh` of a port, empty when there are no keys; None where it is left to Python.
pub fn ssh((rest, tag): Rows) -> Result<Option<Out>> {
    let (mut keys, mut count, mut sure) = (Out::new(), 0, true);
    let mut passed = Out::new();
    Cursor::new(rest).children(tag, |cursor, child| {
        if child.name != b"table" {
            passed.clear();
            return row(cursor, child, &mut passed, 1).map(|_| ());
        }
        let mut said = [None; 4];
        cursor.children(child, |cursor, child| {
            passed.clear();
            if let Some((name, value)) = row(cursor, child, &mut passed, 2)? {
                sure &= name.plain;
                if let Some(place) = NAMES.iter().position(|known| *known == name.bytes) {
                    sure &= value.plain;
                    said[place] = said[place].or(Some(value));
                }
            }
            Ok(())
        })?;
        let length = keys.len();
        sure = sure && host_key(said.map(|value: Option<Raw>| value.unwrap_or(NOTHING).bytes), &mut keys).is_some();
        count += usize::from(keys.len() > length);
        Ok(())
    })?;
    if !sure || count > MAX_VALUES {
        return Ok(None);
    }
    let mut found = Out::new();
    if count > 0 {
        found.push(b',');
        key(&mut found, "ssh");
        found.push(b'{');
        list(&mut found, "host_key", &keys);
        close(&mut found, b'}');
        found.pop();
    }
    Ok(Some(found))
}

/// Write a key and a comma, nothing for what is none; None where it is left to Python.
fn host_key([bits, fingerprint, key_text, kind]: [&[u8]; 4], out: &mut Out) -> Option<()> {
    let blob = blob(key_text)?;
    let digest = match &blob {
        Some((data, _)) => hex::<32>(&md5(data)).to_vec(),
        None => fingerprint.to_vec(),
    };
    if digest.len() != 32 || !digest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Some(());
    }
    out.push(b'{');
    if let Ok(bits) = digits(bits.strip_suffix(b".0").unwrap_or(bits)) {
        key(out, "bits");
        print(out, bits);
        out.push(b',');
    }
    key(out, "md5");
    text(out, &digest.chunks(2).collect::<Vec<_>>().join(&b':'));
    if let Some((data, _)) = &blob {
        key(out, "sha256");
        text(out, &[b"SHA256:", &base64::encoded(&Sha256::new(data).digest())[..]].concat());
    }
    let kind = match &blob {
        Some((_, own)) if kind.is_empty() => clean(own)?,
        _ => clean(kind)?,
    };
    optional("type", &kind, out);
    close(out, b'}');
    Some(())
}

/// Return a key of the second protocol and its type, Some(None) for another; None where that is left to Python.
fn blob(written: &[u8]) -> Option<Option<(Out, Out)>> {
    let encoded = written.rsplit(|&byte| byte == b' ').next().unwrap_or(written);
    if !encoded.starts_with(BEGINNING) {
        return Some(None);
    }
    let data = base64::decoded(encoded)?;
    let (length, rest) = match data[..] {
        [0, 0, 0, length, ref rest @ ..] => (usize::from(length), rest),
        _ => return Some(None),
    };
    if !(1..=LONGEST_TYPE).contains(&length) || length >= rest.len() {
        return Some(None);
    }
    let kind = rest[..length].to_vec();
    if kind.iter().all(u8::is_ascii_graphic) {
        Some(Some((data, kind)))
    } else {
        None
    }
}
