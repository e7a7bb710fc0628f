//! Counting, and saying what was counted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// How often each thing happened, by two words.
#[derive(Debug, Default)]
pub struct Counts {
    counts: Mutex<BTreeMap<(String, String), u64>>,
}

impl Counts {
    /// One more.
    pub fn add(&self, what: &str, which: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((what.to_owned(), which.to_owned())).or_default() += 1;
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// One line for each first word.
    pub fn lines(&self) -> Vec<String> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((what, which), count) in counts.iter() {
            lines.entry(what).or_default().push(format!("{which}: {count}"));
        }
        lines.into_iter().map(|(what, parts)| format!("  {what:<18} {}", parts.join(", "))).collect()
    }
}
