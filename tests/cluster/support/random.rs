//! A generator whose numbers can be had again: SplitMix64.

/// Seeded; the same seed gives the same numbers.
pub struct Random(u64);

impl Random {
    /// One with the test's seed.
    pub fn new() -> Random {
        Random(Random::seed())
    }

    /// The seed of this run of the test: of the clock, unless `VIBEPEAK_SEED` names one. It is
    /// printed, and seen where the test fails.
    pub fn seed() -> u64 {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = match std::env::var("VIBEPEAK_SEED") {
            Ok(seed) => seed.parse().expect("VIBEPEAK_SEED is a number"),
            Err(_) => clock.expect("a clock").as_nanos() as u64,
        };
        println!("VIBEPEAK_SEED={seed}");
        seed
    }

    /// Another one, for a thread of the same test.
    pub fn seeded(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below the bound; near enough to even for tests.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
