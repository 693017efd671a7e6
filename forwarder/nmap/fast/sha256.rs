//! SHA-256 (FIPS 180-4), for ids; there is none without a crate. The tests hold it against Python's.

/// Of the square roots of the first 8 primes, and the cube roots of the first 64, the first bits of their fractions.
const START: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
];

#[derive(Clone)]
pub struct Sha256 {
    state: [u32; 8],
    block: [u8; 64],
    length: usize,
}

/// Return a digest of half so many bytes in hexadecimal.
pub fn hex<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut found = [0; N];
    for (place, byte) in digest.iter().enumerate() {
        found[2 * place] = b"0123456789abcdef"[usize::from(byte >> 4)];
        found[2 * place + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    found
}

impl Sha256 {
    pub fn new(data: &[u8]) -> Self {
        let mut begun = Sha256 { state: START, block: [0; 64], length: 0 };
        begun.update(data);
        begun
    }

    pub fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let at = self.length % 64;
            let taken = data.len().min(64 - at);
            self.block[at..at + taken].copy_from_slice(&data[..taken]);
            self.length += taken;
            data = &data[taken..];
            if self.length % 64 == 0 {
                self.compress();
            }
        }
    }

    /// Return the digest in hexadecimal.
    pub fn hex(self) -> [u8; 64] {
        hex(&self.digest())
    }

    /// Return the digest.
    pub fn digest(mut self) -> [u8; 32] {
        const ZEROS: [u8; 64] = [0; 64];
        let bits = (self.length as u64) * 8;
        self.update(&[0x80]);
        self.update(&ZEROS[..(120 - self.length % 64) % 64]);
        self.update(&bits.to_be_bytes());
        let mut found = [0; 32];
        for (bytes, word) in found.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        found
    }

    fn compress(&mut self) {
        let mut w = [0u32; 64];
        for (word, bytes) in w.iter_mut().zip(self.block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for t in 16..64 {
            let (x, y) = (w[t - 15], w[t - 2]);
            let s0 = x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3);
            let s1 = y.rotate_right(17) ^ y.rotate_right(19) ^ (y >> 10);
            w[t] = w[t - 16].wrapping_add(s0).wrapping_add(w[t - 7]).wrapping_add(s1);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = self.state;
        for t in 0..64 {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let t1 = h.wrapping_add(s1).wrapping_add(e & f ^ !e & g).wrapping_add(K[t]).wrapping_add(w[t]);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let t2 = s0.wrapping_add(a & b ^ a & c ^ b & c);
            (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
        }
        for (word, add) in self.state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *word = word.wrapping_add(add);
        }
    }
}
