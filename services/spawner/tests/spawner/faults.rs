//! What goes wrong on the way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::Service;
use kube::{Api, api::DeleteParams};
use pods_core::{
    Status,
    reason::{Actor, Reason},
    transition::Event,
};
use pods_db::{action_logs, locks::Locks, pods::PodRow, testing, transitions::Change};
use pods_kube::testing::Fault;
use pods_messages::{Outcome, WakeUp};
use serde_json::json;

use crate::stage::{Stage, keys, waits, worker};

fn refusal(code: u16, reason: &'static str, message: &str) -> Fault {
    Fault::Status { code, reason, message: message.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_error_with_the_reason_of_the_cluster_and_leaves_nothing() {
    let cases = [
        (
            422,
            "Invalid",
            "Pod \"x\" is invalid: spec.hostname: Invalid value",
            Reason::Refused,
            "spec.hostname",
        ),
        (
            403,
            "Forbidden",
            "pods \"x\" is forbidden: exceeded quota: q, used: pods=2",
            Reason::Quota,
            "exceeded quota",
        ),
    ];
    for (code, reason, message, expected, text) in cases {
        let stage = Stage::new().await;
        let row = stage.pod("shop").await;
        stage.fake.fail("POST", "pods", 1, refusal(code, reason, message));
        assert_eq!(stage.look(row.uid).await, Outcome::Done);
        let row = stage.row(row.uid).await;
        assert_eq!((row.status, row.status_container.code), (Status::Error, Some(expected)));
        let told = row.status_container.message.unwrap();
        assert!(told.contains(text) && !told.contains("\"x\""), "{told}");
        assert_eq!(stage.objects(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_out_and_told_and_never_becomes_an_error() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    stage.fake.set_reachable(false);
    assert!(waits(&stage.worker.look_at(row.uid, 1).await));
    assert_eq!(stage.row(row.uid).await, row);
    assert!(waits(&stage.worker.look_at(row.uid, 2).await));
    let told = stage.row(row.uid).await;
    assert_eq!(
        (told.status, told.status_container.code),
        (Status::Requested, Some(Reason::KubernetesUnreachable))
    );
    assert!(waits(&stage.worker.look_at(row.uid, 3).await));
    assert_eq!(stage.row(row.uid).await, told, "told once");
    stage.fake.set_reachable(true);
    assert_eq!(stage.worker.look_at(row.uid, 4).await, Outcome::Done);
    let row = stage.row(row.uid).await;
    assert_eq!((row.status, row.status_container.code), (Status::Spawning, Some(Reason::Starting)));

    stage.event(row.uid, Event::Stop).await;
    stage.fake.set_reachable(false);
    assert!(waits(&stage.look(row.uid).await));
    assert_eq!(stage.status(row.uid).await, Status::ShuttingDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_deletion_never_counts_as_gone() {
    // A NetworkPolicy is not deleted here: it goes with its Pod.
    for kind in ["pods", "services", "secrets"] {
        for code in [500, 403, 409, 429] {
            let stage = Stage::new().await;
            let row = stage.running("shop").await;
            let row = stage.event(row.uid, Event::Stop).await;
            stage.log_stored(&row).await;
            let no = refusal(code, "No", "User \"x\" cannot delete resource");
            stage.fake.fail("DELETE", kind, 1, no);
            let mut looks = 0;
            while waits(&stage.look(row.uid).await) {
                assert_eq!(stage.status(row.uid).await, Status::ShuttingDown, "{kind} {code}");
                looks += 1;
                assert!(looks < 10, "{kind} {code}");
            }
            assert!(looks > 0, "{kind} {code}: the error was met");
            assert_eq!((stage.status(row.uid).await, stage.objects()), (Status::Stopped, 0), "{kind} {code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_an_operator_can_mend_is_told_as_such() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    let denied = "pods is forbidden: User \"pods-spawner\" cannot list resource \"pods\"";
    stage.fake.fail("GET", "pods", 3, refusal(403, "Forbidden", denied));
    assert!(waits(&stage.worker.look_at(row.uid, 1).await));
    assert_eq!(stage.row(row.uid).await, row, "a moment of it is nothing to tell");
    assert!(waits(&stage.worker.look_at(row.uid, 2).await));
    let told = stage.row(row.uid).await;
    assert_eq!(told.status_container.code, Some(Reason::KubernetesDenied));
    let message = told.status_container.message.clone().unwrap();
    assert!(message.contains("operator") && !message.contains("pods-spawner"), "{message}");
    assert!(waits(&stage.worker.look_at(row.uid, 3).await));
    assert_eq!(stage.row(row.uid).await, told, "told once");
    assert_eq!(stage.worker.look_at(row.uid, 4).await, Outcome::Done);
    let row = stage.row(row.uid).await;
    assert_eq!((row.status, row.status_container.code), (Status::Spawning, Some(Reason::Starting)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_before_the_start_was_begun_creates_nothing() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    stage.event(row.uid, Event::Stop).await;
    // The wake-up of the start arrives late, after the one of the stop, and twice.
    for _ in 0..3 {
        assert_eq!(stage.look(row.uid).await, Outcome::Done);
    }
    assert_eq!(stage.status(row.uid).await, Status::Stopped);
    assert!(stage.fake.writes().is_empty(), "{:?}", stage.fake.written());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_creates_nothing_twice() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    for kind in ["secrets", "pods", "services"] {
        stage.fake.fail("POST", kind, 1, Fault::AnswerLost);
    }
    let mut looks = 0;
    while stage.look(row.uid).await != Outcome::Done {
        looks += 1;
        assert!(looks < 5);
    }
    let counts = ["pods", "services", "secrets"].map(|kind| stage.fake.objects(kind).len());
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(stage.fake.objects("secrets")[0]["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_any_call_is_repeated() {
    let outages = [
        refusal(500, "InternalError", "etcdserver: request timed out"),
        refusal(429, "TooManyRequests", "slow down"),
        refusal(409, "Conflict", "the object has been modified"),
        refusal(403, "Forbidden", "pods is forbidden: User \"x\" cannot create resource \"pods\""),
        Fault::Refused,
    ];
    for fault in outages {
        let stage = Stage::new().await;
        let row = stage.pod("shop").await;
        stage.fake.fail("POST", "pods", 1, fault.clone());
        assert!(waits(&stage.look(row.uid).await), "{fault:?}");
        assert_eq!(stage.status(row.uid).await, Status::Spawning);
        assert_eq!(stage.look(row.uid).await, Outcome::Done);
        assert_eq!(stage.fake.objects("pods").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_start_leaves_nothing_running() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    let (db, uid) = (stage.db.db(), row.uid);
    let once = Arc::new(AtomicBool::new(false));
    stage.fake.before_writes(move |call| {
        if call.kind != "pods" || call.method != "POST" || once.swap(true, Ordering::SeqCst) {
            return;
        }
        let db = db.clone();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut conn = db.get().await.unwrap();
                let row = PodRow::by_uid(&mut conn, uid).await.unwrap().unwrap();
                testing::done(&mut conn, &row, Change::new(Event::Stop, testing::now())).await;
            });
        });
    });
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.status(row.uid).await, Status::Stopped);
    assert_eq!(stage.objects(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_somebody_works_on_is_left_alone() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    let locks = Locks::new(&stage.db.db(), 1).unwrap();
    let held = locks.try_acquire(row.uid).await.unwrap().unwrap();
    assert_eq!(stage.look(row.uid).await, Outcome::RetryAfter(Duration::from_millis(300)));
    assert!(stage.fake.writes().is_empty());
    held.release().await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_wake_up_many_times_at_once_makes_one_pod() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    let other = worker(&stage.db, &stage.fake, &keys(&["k1"]));
    let looks = (0..10).map(|n| {
        let worker = if n % 2 == 0 { stage.worker.clone() } else { other.clone() };
        tokio::spawn(async move { worker.look_at(row.uid, 1).await })
    });
    for look in looks.collect::<Vec<_>>() {
        look.await.unwrap();
    }
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.fake.written().iter().filter(|call| *call == "POST pods").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_stuck_keeps_one_message_and_no_repetitions() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    let keyless = Stage { worker: worker(&stage.db, &stage.fake, &keys(&["k9"])), ..stage };
    let (young, old) = (Duration::ZERO, Duration::from_secs(3600));
    assert!(waits(&keyless.wake(row.uid, "create", old).await), "what nothing repeats is never used up");
    assert!(waits(&keyless.wake(row.uid, WakeUp::SWEEP, young).await));
    assert_eq!(keyless.wake(row.uid, WakeUp::SWEEP, old).await, Outcome::Done, "the next one is on its way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_of_a_running_pod_is_tried_again_and_told_once() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    let api: Api<Service> = Api::namespaced(stage.fake.client(), "pods-test");
    api.delete(&row.k8_name, &DeleteParams::default()).await.unwrap();
    let no = refusal(403, "Forbidden", "services \"x\" is forbidden: exceeded quota: q, used: services=9");
    stage.fake.fail("POST", "services", 3, no);
    let before = stage.fake.written().len();
    let mut retries = Vec::new();
    for attempt in 1..=3 {
        let Outcome::RetryAfter(retry) = stage.worker.look_at(row.uid, attempt).await else { panic!() };
        retries.push(retry);
    }
    assert!(retries.is_sorted() && retries[0] < retries[2], "{retries:?}");
    let tried = stage.fake.written().len() - before;
    assert!(tried <= 3, "one call for each attempt, not {tried}");
    let lines = action_logs::list(&mut *stage.db.conn().await, row.uid).await.unwrap();
    let told =
        lines.iter().filter(|line| line.contains("refused") && line.contains("exceeded quota")).count();
    assert_eq!((stage.status(row.uid).await, told), (Status::Available, 1), "{lines:?}");
    assert_eq!(stage.worker.look_at(row.uid, 4).await, Outcome::Done);
    assert_eq!(stage.fake.objects("services").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_others_are_never_touched() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    let foreign =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": row.k8_name, "uid": "other"}});
    stage.fake.put("services", foreign);
    assert!(waits(&stage.look(row.uid).await));
    assert!(waits(&stage.worker.look_at(row.uid, 2).await));
    let told = stage.row(row.uid).await;
    assert_eq!((told.status, told.status_container.code), (Status::Spawning, Some(Reason::NameTaken)));
    let message = told.status_container.message.clone().unwrap();
    assert!(message.contains("a Service") && message.contains("operator"), "{message}");
    assert_eq!(told.status_container.actor, Some(Actor::Operator), "who can act is who the message names");
    assert!(waits(&stage.worker.look_at(row.uid, 3).await));
    assert_eq!(stage.row(row.uid).await, told, "told once");
    assert_eq!(stage.fake.objects("services")[0]["metadata"]["uid"], "other");
    stage.event(row.uid, Event::Delete).await;
    stage.look(row.uid).await;
    assert_eq!(stage.fake.objects("services").len(), 1);
    assert_eq!(stage.fake.objects("pods").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_nothing_is_written() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    stage.db.go_away().await;
    assert!(waits(&stage.look(row.uid).await));
    assert!(stage.fake.writes().is_empty());
    stage.db.come_back().await;
    let mut looks = 0;
    while stage.look(row.uid).await != Outcome::Done {
        looks += 1;
        assert!(looks < 5);
    }
    assert_eq!(stage.fake.objects("pods").len(), 1);
}
