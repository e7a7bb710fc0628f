//! Decisions by chance that a seed repeats.

use std::time::Duration;

/// A generator of its own for each actor: what one of them does never shifts another's sequence.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator of an actor.
    pub fn of(seed: u64, actor: &str, number: usize) -> Self {
        // FNV-1a over the actor's name; then the first steps mix it with the seed.
        let name = actor.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut random = Self { state: seed ^ name };
        random.state = random.bits().wrapping_add(number as u64);
        random.bits();
        random
    }

    /// The next 64 bits (SplitMix64).
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.bits() % limit.max(1) as u64).unwrap_or_default()
    }

    /// True so many times out of a hundred.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// A time between two bounds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
        least + Duration::from_millis(self.bits() % (span + 1))
    }

    /// One of several, each as often as its weight says.
    pub fn choose<'a, T>(&mut self, weighted: &'a [(usize, T)]) -> &'a T {
        let total = weighted.iter().map(|(weight, _)| weight).sum();
        let mut at = self.below(total);
        for (weight, item) in weighted {
            if at < *weight {
                return item;
            }
            at -= weight;
        }
        &weighted[weighted.len() - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_actors_differ() {
        let take = |seed, actor, number| {
            let mut random = Random::of(seed, actor, number);
            [random.bits(), random.bits(), random.bits()]
        };
        assert_eq!(take(7, "pod", 3), take(7, "pod", 3));
        let all = [take(7, "pod", 3), take(8, "pod", 3), take(7, "pod", 4), take(7, "lane", 3)];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn weights_count() {
        let mut random = Random::of(1, "weights", 0);
        let drawn = (0..10_000).filter(|_| *random.choose(&[(3, "often"), (1, "rarely")]) == "often").count();
        assert!((7200..7800).contains(&drawn), "{drawn}");
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(2));
        assert!((0..100).all(|_| (least..=most).contains(&random.between(least, most))));
    }
}
