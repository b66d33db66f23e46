//! SipHash-2-4 with a result of 128 bits: a hash under a key. Who does not have the key can neither
//! foresee a result nor find two inputs with the same one.
//!
//! <https://www.aumasson.jp/siphash/siphash.pdf>

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
        self.rounds(2);
        self.0[0] ^= word;
    }

    fn result(&mut self) -> u64 {
        self.rounds(4);
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

    /// The results of `openssl mac … -macopt size:16 SIPHASH`, of which the first three are in the
    /// paper's reference implementation too.
    #[test]
    fn results_are_those_of_other_implementations() {
        let key = core::array::from_fn(|at| at as u8);
        for (length, expected) in [
            (0, 0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293_u128),
            (1, 0xda87_c1d8_6b99_af44_3476_5911_9b22_fc45),
            (7, 0xa1f1_ebbe_d8db_c153_c0b8_4aa6_1ff0_8239),
            (8, 0x3b62_a9ba_6258_f561_0f83_e264_f314_97b4),
            (15, 0x5493_e999_33b0_a811_7e08_ec0f_97cf_c3d9),
            (47, 0xe61c_432b_720b_19d1_8ec8_d84b_dc63_151b),
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
