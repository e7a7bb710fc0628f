//! How many requests a user may send, per process: a bucket of `burst` requests that fills up with `per_second`.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock, DefaultClock},
};

use crate::error::ApiError;

/// Requests after which the users whose bucket is full again are forgotten.
const SWEEP_EVERY: u32 = 10_000;

/// The buckets of all users that sent something lately.
#[derive(Debug, Clone, Default)]
pub struct RateLimit(Option<Arc<Buckets>>);

#[derive(Debug)]
struct Buckets {
    limiter: DefaultKeyedRateLimiter<(String, String)>,
    clock: DefaultClock,
    checks: AtomicU32,
}

impl RateLimit {
    /// A limit; 0 for either number is none.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let quota = NonZeroU32::new(per_second).zip(NonZeroU32::new(burst));
        Self(quota.map(|(per_second, burst)| {
            Arc::new(Buckets {
                limiter: DefaultKeyedRateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)),
                clock: DefaultClock::default(),
                checks: AtomicU32::new(0),
            })
        }))
    }

    /// Counts a request of a user.
    ///
    /// # Errors
    /// 429 when the user's bucket is empty.
    pub fn check(&self, tenant: &str, user: &str) -> Result<(), ApiError> {
        let Some(buckets) = &self.0 else { return Ok(()) };
        if buckets.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            buckets.limiter.retain_recent();
            buckets.limiter.shrink_to_fit();
        }
        buckets.limiter.check_key(&(tenant.to_owned(), user.to_owned())).map_err(|not_until| {
            let wait = not_until.wait_time_from(buckets.clock.now());
            // Whole seconds, rounded up: earlier would be refused again.
            ApiError::TooManyRequests { retry_after: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) }
        })
    }

    /// How many users are remembered.
    #[cfg(test)]
    fn users(&self) -> usize {
        self.0.as_ref().map_or(0, |buckets| buckets.limiter.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_sends_too_much_is_told_when_to_come_back() {
        let limit = RateLimit::new(1, 3);
        for _ in 0..3 {
            limit.check("dev", "alice").unwrap();
        }
        let Err(ApiError::TooManyRequests { retry_after }) = limit.check("dev", "alice") else {
            panic!("the bucket was empty")
        };
        assert_eq!(retry_after, 1);
        limit.check("dev", "bob").unwrap();
        limit.check("dev-two", "alice").unwrap();
    }

    #[test]
    fn users_are_forgotten_when_their_bucket_is_full_again() {
        let limit = RateLimit::new(1_000_000, 1);
        for user in 0..3 * SWEEP_EVERY {
            limit.check("dev", &user.to_string()).unwrap();
        }
        assert!(limit.users() <= SWEEP_EVERY as usize, "{} are remembered", limit.users());
    }

    #[test]
    fn zero_is_no_limit() {
        for limit in [RateLimit::new(0, 5), RateLimit::new(5, 0), RateLimit::default()] {
            for _ in 0..100 {
                limit.check("dev", "alice").unwrap();
            }
        }
    }
}
