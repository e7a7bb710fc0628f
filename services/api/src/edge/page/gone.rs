//! Hosts of pods that were deleted a moment ago.
//!
//! A deleted pod is gone for everybody at once, also for the routes; whoever visits it in its last moments is told so
//! instead of that it never existed. Kept in memory: a restart shortens the moment, nothing more.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// As long as a container and its objects usually take to end.
const MOMENT: Duration = Duration::from_secs(30);
/// Hosts that are remembered; of more the oldest are forgotten.
const MOST: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Gone {
    since: HashMap<String, Instant>,
    order: VecDeque<(Instant, String)>,
}

impl Gone {
    /// A pod with these hosts was deleted.
    pub fn note(&mut self, hosts: impl IntoIterator<Item = String>, now: Instant) {
        self.forget_old(now);
        for host in hosts {
            if self.since.insert(host.clone(), now).is_none_or(|before| before != now) {
                self.order.push_back((now, host));
            }
        }
        while self.order.len() > MOST {
            self.forget_first();
        }
    }

    /// Whether a pod of this host was deleted a moment ago. Another one may have it by now: ask for that first.
    pub fn contains(&self, host: &str, now: Instant) -> bool {
        self.since.get(host).is_some_and(|since| now.saturating_duration_since(*since) < MOMENT)
    }

    fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= MOMENT) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((at, host)) = self.order.pop_front()
            && self.since.get(&host) == Some(&at)
        {
            self.since.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: usize) -> String {
        format!("p{number}.pods.dev.example.org")
    }

    #[test]
    fn a_deletion_is_remembered_for_a_moment() {
        let (mut gone, now) = (Gone::default(), Instant::now());
        let (later, last) = (now + MOMENT / 2, now + MOMENT);
        gone.note([host(1), host(2)], now);
        assert!(gone.contains(&host(1), later) && !gone.contains(&host(3), later));
        assert!(!gone.contains(&host(1), last));
        // Deleted again meanwhile.
        gone.note([host(1)], later);
        gone.note([], last);
        assert!(gone.contains(&host(1), last) && !gone.contains(&host(2), last));
        assert_eq!((gone.since.len(), gone.order.len()), (1, 1));
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let (mut gone, now) = (Gone::default(), Instant::now());
        gone.note((0..MOST + 5).map(host), now);
        assert_eq!((gone.since.len(), gone.order.len()), (MOST, MOST));
        assert!(!gone.contains(&host(4), now) && gone.contains(&host(5), now));
        for _ in 0..3 {
            gone.note([host(7)], now);
        }
        assert_eq!(gone.order.len(), MOST);
    }
}
