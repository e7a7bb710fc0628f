//! Wake-ups that come twice, late, or about pods that nobody knows.

use std::{sync::Arc, time::Duration};

use integration_tests::wakeups::WakeUps;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{injector::Faults, random::Random, snapshot};

const REASONS: &[&str] = &["create", "start", "stop", "restart", "delete", "objects gone", "sweep"];

/// Sends wake-ups of the run's pods again, the deleted ones' too, and of pods that never were.
pub async fn duplicate(faults: Arc<Faults>, wake_ups: WakeUps, prefix: String, seed: u64) {
    let mut random = Random::of(seed, "messages", 0);
    let mut known: Vec<Uuid> = Vec::new();
    let mut over = faults.over.clone();
    for round in 0_u32.. {
        let pause = random.between(Duration::from_millis(300), Duration::from_secs(2));
        let (at, unknown, times) = (random.bits(), random.percent(10), 1 + random.below(4));
        let reason = REASONS[random.below(REASONS.len())];
        if timeout(pause, over.wait_for(|over| *over)).await.is_ok() {
            return;
        }
        if round % 10 == 0
            && let Ok(rows) = snapshot::rows(&faults.env, &prefix).await
        {
            known = rows.iter().map(|row| row.uid).collect();
        }
        let place = usize::try_from(at % known.len().max(1) as u64).unwrap_or_default();
        let uid = known.get(place).filter(|_| !unknown).copied().unwrap_or_else(Uuid::now_v7);
        let kind = if unknown { "of an unknown pod" } else { "of a known pod" };
        for _ in 0..times {
            let sent = timeout(Duration::from_secs(5), wake_ups.try_send(uid, reason)).await;
            faults.counts.add("message", if sent.unwrap_or(false) { kind } else { "not taken" });
        }
    }
}
