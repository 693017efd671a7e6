//! Base64 (RFC 4648); there is none without a crate. The tests hold it against Python's.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const NONE: u8 = 64;
/// Byte → what it stands for, NONE for what is not in the alphabet.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut place = 0;
    while place < 64 {
        values[ALPHABET[place] as usize] = place as u8;
        place += 1;
    }
    values
};

/// Return data in base64 without padding.
pub fn encoded(data: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(data.len() / 3 * 4 + 4);
    for three in data.chunks(3) {
        let bits = three.iter().fold(0, |bits, &byte| bits << 8 | usize::from(byte)) << (8 * (3 - three.len()));
        found.extend((0..=three.len()).map(|place| ALPHABET[bits >> (18 - 6 * place) & 63]));
    }
    found
}

/// Return what base64 says; None for what an encoder does not write: another character or length, bits that are lost.
pub fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let mut found = Vec::with_capacity(text.len() / 4 * 3);
    for four in text[..text.len() - padding].chunks(4) {
        let mut bits = 0;
        for &byte in four {
            let value = VALUES[usize::from(byte)];
            if value == NONE {
                return None;
            }
            bits = bits << 6 | u32::from(value);
        }
        let bytes = (bits << (6 * (4 - four.len()))).to_be_bytes();
        let (said, lost) = bytes[1..].split_at(four.len() - 1);
        if lost.iter().any(|&byte| byte != 0) {
            return None;
        }
        found.extend_from_slice(said);
    }
    if text.len() % 4 == 0 {
        Some(found)
    } else {
        None
    }
}
