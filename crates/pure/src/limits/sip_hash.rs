//! SipHash-1-3 with a result of 128 bits: a hash under a key, whose results nobody sees. Without
//! the key, no way is known to foresee a result, or to find two inputs with the same one. The hash
//! tables of Rust, Python and Ruby have the same rounds. Those of 2-4 take half as long again.
//!
//! The construction is described in <https://www.aumasson.jp/siphash/siphash.pdf>.

/// The hash of some words, each from its least significant byte on, followed by some bytes.
pub fn sip_hash(key: [u8; 16], words: &[u64], bytes: &[u8]) -> [u64; 2] {
    let [low, high] = halves(key);
    let mut state = State([
        low ^ 0x736f_6d65_7073_6575,
        high ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        low ^ 0x6c79_6765_6e65_7261,
        high ^ 0x7465_6462_7974_6573,
    ]);
    words.iter().for_each(|word| state.absorb(*word));
    let (chunks, rest) = bytes.as_chunks();
    chunks.iter().for_each(|chunk| state.absorb(u64::from_le_bytes(*chunk)));
    let length = (8 * words.len() + bytes.len()) as u64;
    let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    state.absorb(rest | length << 56);
    state.0[2] ^= 0xee;
    let first = state.result();
    state.0[1] ^= 0xdd;
    [first, state.result()]
}

/// The two halves of a key or a hash.
pub fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let bytes = u128::from_le_bytes(bytes);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let halves = [bytes as u64, (bytes >> 64) as u64];
    halves
}

/// What has been hashed so far.
struct State([u64; 4]);

impl State {
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.rounds(1);
        self.0[0] ^= word;
    }

    fn result(&mut self) -> u64 {
        self.rounds(3);
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }

    fn rounds(&mut self, count: u32) {
        let [mut a, mut b, mut c, mut d] = self.0;
        for _ in 0..count {
            a = a.wrapping_add(b);
            b = b.rotate_left(13) ^ a;
            a = a.rotate_left(32);
            c = c.wrapping_add(d);
            d = d.rotate_left(16) ^ c;
            a = a.wrapping_add(d);
            d = d.rotate_left(21) ^ a;
            c = c.wrapping_add(b);
            b = b.rotate_left(17) ^ c;
            c = c.rotate_left(32);
        }
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results of `openssl mac … -macopt size:16 -macopt c-rounds:1 -macopt d-rounds:3
    /// SIPHASH`.
    #[test]
    fn results_are_those_of_other_implementations() {
        let key = core::array::from_fn(|at| at as u8);
        for (length, expected) in [
            (0, 0xe77e_bcb2_2788_a5be_fd62_db6a_dd30_3001_u128),
            (1, 0xfc6f_3704_60d3_eda8_5e05_73cc_2b2f_f063),
            (7, 0x1084_b923_f2aa_e0c3_a62f_2ec8_0848_ab77),
            (8, 0xaa12_fee1_d5e3_dab4_724f_16ab_35f9_c799),
            (15, 0xc17e_5505_b2bd_526c_2921_cdec_1e7e_0109),
            (47, 0x6f14_90f5_4069_9a3c_d497_4420_ecc9_2737),
        ] {
            let input: Vec<u8> = (0..length).collect();
            let expected = halves(expected.to_be_bytes());
            assert_eq!(sip_hash(key, &[], &input), expected, "{length} bytes");
            // The first of them as words.
            let (words, _) = input.as_chunks();
            for count in 0..=words.len() {
                let words: Vec<_> =
                    words[..count].iter().map(|it| u64::from_le_bytes(*it)).collect();
                assert_eq!(sip_hash(key, &words, &input[8 * count..]), expected, "{length} bytes");
            }
        }
    }
}
