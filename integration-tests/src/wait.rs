//! Waiting for a condition, with a limit and a sentence when it does not come true.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Limit for what takes a second or two on an idle machine.
pub const LIMIT: Duration = Duration::from_secs(90);

/// Looks again and again until `look` answers `Ok`, and panics with what it saw last when that takes too long.
pub async fn await_condition<T, F, Fut>(what: &str, limit: Duration, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if begun.elapsed() >= limit => {
                panic!("{what}: not within {} s; last seen: {seen}", limit.as_secs())
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
