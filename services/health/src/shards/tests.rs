//! Who takes what, and when to look again.

use super::*;

#[test]
fn replicas_share_fairly_and_leave_nothing() {
    for replicas in 0..40 {
        assert!(fair_share(replicas) * replicas.max(1) >= SHARDS, "{replicas}");
    }
    assert_eq!((fair_share(1), fair_share(2), fair_share(3)), (16, 8, 6));
}

#[test]
fn the_end_of_anothers_lease_is_not_slept_through() {
    let lease = |holder: &str, remaining| Lease {
        name: "health/s/shard-00".to_owned(),
        holder: holder.to_owned(),
        epoch: 1,
        remaining,
    };
    let look = |leases: &[Lease]| next_look(leases, "me");
    assert_eq!(look(&[]), RENEW_EVERY);
    assert_eq!(look(&[lease("me", 0.5), lease("other", 7.5), lease("dead", -3.0)]), RENEW_EVERY);
    let soon = look(&[lease("other", 9.0), lease("killed", 1.2)]);
    assert_eq!(soon, Duration::from_secs_f64(1.2) + JUST_AFTER);
}

#[test]
fn free_shares_are_those_that_nobody_holds() {
    let shards = Shards::new("s");
    let lease = |shard: usize, holder: &str, remaining| Lease {
        name: shards.lease(shard),
        holder: holder.to_owned(),
        epoch: 1,
        remaining,
    };
    let known = [lease(0, "other", 5.0), lease(1, "dead", 0.0), lease(2, &shards.holder, 5.0)];
    let free = shards.free(&known, &[3], SHARDS);
    assert!(!free.contains(&shards.lease(0)) && !free.contains(&shards.lease(3)));
    assert_eq!(free.len(), SHARDS - 2);
    assert_eq!(shards.free(&known, &[3], 2), [shards.lease(1), shards.lease(2)]);
}

#[test]
fn shares_are_even() {
    let mut counts = [0; SHARDS];
    for _ in 0..16_000 {
        counts[shard_of(Uuid::now_v7())] += 1;
    }
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
}

#[test]
fn a_share_ends_before_its_lease() {
    let shards = Shards::new("s");
    let uid = Uuid::now_v7();
    let mut shifts = shards.shifts();
    let held = |until| Some(Held { epoch: 3, until });
    shards.set(shard_of(uid), held(Instant::now() + Duration::from_secs(60)));
    assert_eq!(shards.fence(uid).map(|fence| fence.epoch), Some(3));
    shards.set(shard_of(uid), held(Instant::now() - Duration::from_millis(1)));
    assert!(!shards.mine(uid));
    shards.expire();
    assert_eq!(shifts.try_recv(), Ok(Shift::Gained(shard_of(uid))));
    assert_eq!(shifts.try_recv(), Ok(Shift::Lost(shard_of(uid))));
}
