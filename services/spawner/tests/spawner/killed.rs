//! A spawner that is killed between any two steps, or asked to stop, leaves nothing that the next one does not finish.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pods_core::{Status, transition::Event};
use pods_db::{locks::Locks, pods::PodRow};
use pods_messages::Outcome;
use pods_runtime::shutdown::CancellationToken;
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::stage::{Stage, keys, worker};

impl Stage {
    /// A worker looks at the pod and is killed when its `nth` write takes effect, before it learns of that or soon
    /// after. Answers whether it got that far.
    async fn killed_at(&self, uid: Uuid, nth: usize) -> bool {
        let (writes, victim) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None::<AbortHandle>)));
        let (count, shot) = (Arc::clone(&writes), Arc::clone(&victim));
        self.fake.before_writes(move |_| {
            if count.fetch_add(1, Ordering::SeqCst) + 1 == nth
                && let Some(victim) = shot.lock().expect("no test panics here").as_ref()
            {
                victim.abort();
            }
        });
        let doomed = worker(&self.db, &self.fake, &keys(&["k1"]));
        let ready = Arc::new(tokio::sync::Notify::new());
        let go = Arc::clone(&ready);
        let task = tokio::spawn(async move {
            go.notified().await;
            doomed.look_at(uid, 1).await
        });
        *victim.lock().expect("no test panics here") = Some(task.abort_handle());
        ready.notify_one();
        let _ended = task.await;
        self.fake.before_writes(|_| {});
        writes.load(Ordering::SeqCst) >= nth
    }

    /// Looks until nothing is left to do.
    async fn settle(&self, uid: Uuid) {
        // The lock of the one that was killed goes with its connection.
        let locks = Locks::new(&self.db.db(), 1).expect("a pool can be built");
        let free = async {
            while locks.try_acquire(uid).await.expect("the database answers").is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), free).await.expect("the lock becomes free");
        let survivor = worker(&self.db, &self.fake, &keys(&["k1"]));
        let done = async {
            // It says when to look again; the pretended kubelets need some time of their own.
            while let Outcome::RetryAfter(wait) = survivor.look_at(uid, 1).await {
                tokio::time::sleep(wait.min(Duration::from_millis(50))).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), done).await.is_err() {
            panic!("the pod does not settle: {:?}", self.row(uid).await);
        }
    }

    fn counts(&self) -> [usize; 4] {
        ["pods", "services", "secrets", "networkpolicies"].map(|kind| self.fake.objects(kind).len())
    }
}

/// Writes of a start, with room for more.
const MOST_WRITES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_write_of_a_start_the_next_one_finishes_it() {
    let mut kills = 0;
    for nth in 1..=MOST_WRITES {
        let stage = Stage::new().await;
        let row = stage.pod("shop").await;
        let killed = stage.killed_at(row.uid, nth).await;
        kills += usize::from(killed);
        stage.settle(row.uid).await;
        assert_eq!(stage.counts(), [1, 1, 1, 1], "killed at write {nth}");
        assert_eq!(stage.status(row.uid).await, Status::Spawning);
        for kind in ["secrets", "networkpolicies"] {
            assert!(
                stage.fake.objects(kind)[0]["metadata"]["ownerReferences"].is_array(),
                "{kind}, write {nth}"
            );
        }
        let created = stage.fake.written().iter().filter(|call| *call == "POST pods").count();
        assert!(created <= 2, "killed at write {nth}: {created}");
        if !killed {
            break;
        }
    }
    assert!(kills >= 5, "a start has at least five writes, it was killed at {kills}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_write_of_a_restart_or_stop_the_next_one_finishes_it() {
    for (event, expected, objects) in
        [(Event::Restart, Status::Spawning, [1, 1, 1, 1]), (Event::Stop, Status::Stopped, [0; 4])]
    {
        for nth in 1..=MOST_WRITES {
            let stage = Stage::new().await;
            let row = stage.running("shop").await;
            let row: PodRow = stage.event(row.uid, event).await;
            stage.log_stored(&row).await;
            let killed = stage.killed_at(row.uid, nth).await;
            stage.settle(row.uid).await;
            assert_eq!(stage.counts(), objects, "{event}, killed at write {nth}");
            assert_eq!(stage.status(row.uid).await, expected, "{event}, killed at write {nth}");
            if !killed {
                assert!(nth > 3, "{event} has more than two writes");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_hands_back_what_it_has_not_begun_and_finishes_a_step() {
    let stage = Stage::new().await;
    let token = CancellationToken::new();
    let stopping = worker(&stage.db, &stage.fake, &keys(&["k1"])).until(token.clone());
    let row = stage.running("shop").await;
    let row = stage.event(row.uid, Event::Restart).await;
    stage.log_stored(&row).await;
    // In the middle of the first step: the objects of the old start are removed in one.
    let cancel = token.clone();
    stage.fake.before_writes(move |_| cancel.cancel());
    assert_eq!(stopping.look_at(row.uid, 1).await, Outcome::RetryAfter(Duration::ZERO));
    assert_eq!(stage.fake.objects("services").len(), 0, "the step was finished");
    assert_eq!(stage.status(row.uid).await, Status::Restarting, "the next one was not begun");
    let writes = stage.fake.writes().len();
    assert_eq!(stopping.look_at(row.uid, 1).await, Outcome::RetryAfter(Duration::ZERO));
    assert_eq!(stage.fake.writes().len(), writes);
    stage.settle(row.uid).await;
    assert_eq!(stage.status(row.uid).await, Status::Spawning);
}
