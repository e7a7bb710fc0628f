//! Status writes: compare-and-set, instances, deadlines, wake-ups.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use chrono::{TimeDelta, Utc};
use pods_core::{
    PodDefinition, Status, StatusRequested,
    phases::Phase,
    reason::{Reason, StatusContainer},
    transition::Event,
};
use pods_db::{
    action_logs, instances, outbox,
    pods::PodRow,
    testing::{TestDatabase, done, now, pod, update},
    transitions::{Applied, Change, apply, mark_objects_gone, set_status_container},
};

async fn waiting(conn: &mut pods_db::Connection) -> Vec<String> {
    let seen = std::sync::Mutex::new(Vec::new());
    outbox::relay_once(conn, 100, |row| {
        seen.lock().unwrap().push(row.reason);
        async { true }
    })
    .await
    .unwrap();
    seen.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pod_that_is_started_again_and_again_the_newest_starts_are_kept() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let (row, other) = (pod(conn, "docpod", true).await, pod(conn, "other", true).await);
    let copies = "INSERT INTO pod_instances (instance_id, pod_uid, definition, created_ts) \
         SELECT gen_random_uuid(), pod_uid, definition, created_ts - n * interval '1 s' \
         FROM pod_instances, generate_series(1, 70) n";
    diesel_async::RunQueryDsl::execute(diesel::sql_query(copies), conn).await.unwrap();
    let row = done(conn, &row, Change::new(Event::Stop, now())).await;
    let row = done(conn, &row, Change::new(Event::ObjectsGone, now())).await;
    let again = done(conn, &row, Change::new(Event::Start, now())).await;
    let kept = instances::ledger(conn, row.uid, 100).await.unwrap();
    assert_eq!(kept.len(), usize::try_from(instances::KEPT).unwrap());
    assert_eq!(kept.first().map(|start| start.instance_id), again.instance_id, "the newest first");
    assert!(kept.is_sorted_by(|a, b| a.phases.get(Phase::Accepted) > b.phases.get(Phase::Accepted)));
    assert_eq!(instances::ledger(conn, other.uid, 100).await.unwrap().len(), 71, "another pod's stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_freezes_the_definition_and_wakes_the_spawner() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let stopped = pod(conn, "docpod", false).await;
    assert_eq!((stopped.status, stopped.status_requested), (Status::Stopped, StatusRequested::Off));
    assert_eq!(waiting(conn).await, Vec::<String>::new());

    let started = done(conn, &stopped, Change::new(Event::Start, now()).log("'alice' asked for start")).await;
    assert_eq!(started.status, Status::Requested);
    assert_eq!(PodRow::by_uid(conn, started.uid).await.unwrap().unwrap(), started, "the answer is the row");
    assert_eq!(waiting(conn).await, ["start"]);
    assert!(action_logs::list(conn, started.uid).await.unwrap()[1].ends_with(": 'alice' asked for start"));

    let changed = PodDefinition { description: "new".to_owned(), ..started.definition.clone() };
    let updated = update(conn, &started, changed).await.unwrap();
    let frozen = instances::get(conn, updated.instance_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(
        frozen.effective.definition.description, "",
        "an update never reaches a start that was accepted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_row_writes_nothing() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let stale = pod(conn, "docpod", true).await;
    assert_eq!(waiting(conn).await, ["create"]);
    let spawning = done(conn, &stale, Change::new(Event::SpawnBegun, now())).await;

    let change = Change::new(Event::Stop, now()).log("'alice' asked for stop");
    assert_eq!(apply(conn, &stale, change).await.unwrap(), Applied::Moved);
    assert!(
        !set_status_container(conn, &stale, &StatusContainer::because(Reason::Starting, "x")).await.unwrap()
    );
    let definition = PodDefinition { description: "x".to_owned(), ..stale.definition.clone() };
    assert_eq!(update(conn, &stale, definition).await, None);

    assert_eq!(PodRow::by_uid(conn, stale.uid).await.unwrap().unwrap(), spawning);
    assert_eq!(waiting(conn).await, Vec::<String>::new(), "no wake-up without its status");
    assert_eq!(action_logs::list(conn, stale.uid).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_wins() {
    let database = TestDatabase::new().await;
    for round in 0..20 {
        let row = pod(&mut *database.conn().await, &format!("pod{round}"), true).await;
        let write = async |event| {
            let conn = &mut database.conn().await;
            apply(conn, &row, Change::new(event, now())).await.unwrap()
        };
        let (running, stop) = tokio::join!(write(Event::Running), write(Event::Stop));
        let done = |applied: &Applied| matches!(applied, Applied::Done(_));
        assert!(done(&running) != done(&stop), "{running:?} {stop:?}");
        assert!(running == Applied::Moved || stop == Applied::Moved);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn illegal_events_change_nothing() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", false).await;
    for event in [Event::Running, Event::Lost, Event::ObjectsGone, Event::SpawnBegun, Event::Expired] {
        assert!(matches!(apply(conn, &row, Change::new(event, now())).await.unwrap(), Applied::Illegal(_)));
    }
    assert_eq!(PodRow::by_uid(conn, row.uid).await.unwrap().unwrap(), row);
    let same = done(conn, &row, Change::new(Event::Stop, now())).await;
    assert_eq!(same.revision, row.revision, "stopping what is stopped is no write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_pod_keeps_snapshot_and_deadline() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", true).await;
    let row = done(conn, &row, Change::new(Event::SpawnBegun, now())).await;
    let began = now() - TimeDelta::seconds(100);
    let running = done(conn, &row, Change::new(Event::Running, now()).started_at(began)).await;
    assert_eq!(running.start_instance_ts, Some(began));
    let deadline = began + TimeDelta::seconds(43_200);
    assert_eq!(running.time_to_stop_ts, Some(deadline));

    let changed = PodDefinition { description: "later".to_owned(), ..running.definition.clone() };
    let running = update(conn, &running, changed).await.unwrap();
    let not_before = now() + TimeDelta::seconds(4);
    let lost = done(conn, &running, Change::new(Event::Lost, now()).losses(3).not_before(not_before)).await;
    assert_eq!((lost.status, lost.losses, lost.not_before), (Status::Requested, 3, Some(not_before)));
    let name = |row: &PodRow| pods_core::ids::instance_name(&row.k8_name, row.instance_id.unwrap());
    assert_ne!(name(&lost), name(&running), "two starts never share a Kubernetes name, however soon");
    let frozen = instances::get(conn, lost.instance_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(frozen.effective.definition.description, "", "the snapshot of the user's start");

    let row = done(conn, &lost, Change::new(Event::SpawnBegun, now())).await;
    let again = done(conn, &row, Change::new(Event::Running, now()).started_at(now())).await;
    assert_eq!(again.time_to_stop_ts, Some(deadline), "a loss is no new start");

    let lost = done(conn, &again, Change::new(Event::Lost, now()).losses(4)).await;
    let limited = PodDefinition { time_to_stop_instance: Some(900), ..lost.definition.clone() };
    let lost = update(conn, &lost, limited).await.unwrap();
    let again = done(conn, &lost, Change::new(Event::Running, now())).await;
    assert_eq!(again.time_to_stop_ts, Some(began + TimeDelta::seconds(900)), "a new limit counts from there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_set_while_the_pod_runs_moves_its_deadline() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", true).await;
    let began = now() - TimeDelta::seconds(10);
    let running = done(conn, &row, Change::new(Event::Running, now()).started_at(began)).await;
    let mut row = running.clone();
    for (default, instance, seconds) in [
        (600, None, Some(600)),
        (600, Some(900), Some(900)),
        (600, Some(-1), None),
        (-1, Some(300), Some(300)),
    ] {
        let definition = PodDefinition {
            time_to_stop_default: default,
            time_to_stop_instance: instance,
            ..row.definition.clone()
        };
        row = update(conn, &row, definition).await.unwrap();
        assert_eq!(row.time_to_stop_ts, seconds.map(|seconds| began + TimeDelta::seconds(seconds)));
        assert_eq!(PodRow::by_uid(conn, row.uid).await.unwrap().unwrap(), row);
    }
    let late = began + TimeDelta::seconds(301);
    assert_eq!(PodRow::expired(conn, "dev", late).await.unwrap(), [row.uid]);
    assert!(PodRow::expired(conn, "other", late).await.unwrap().is_empty());
    assert!(PodRow::expired(conn, "dev", began).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_the_limit_of_the_run_before() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", false).await;
    let definition = PodDefinition { time_to_stop_instance: Some(600), ..row.definition.clone() };
    let row = update(conn, &row, definition).await.unwrap();
    let row = done(conn, &row, Change::new(Event::Start, now())).await;
    assert_eq!(row.definition.time_to_stop_instance, Some(600), "set before the start, it is for this run");
    let row = done(conn, &row, Change::new(Event::Running, now())).await;
    let row = done(conn, &row, Change::new(Event::Restart, now())).await;
    let instance = row.instance_id;
    let row = done(conn, &row, Change::new(Event::ObjectsGone, now())).await;
    assert_eq!((row.status, row.definition.time_to_stop_instance), (Status::Requested, None));
    assert_ne!(row.instance_id, instance);
    let frozen = instances::get(conn, row.instance_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(frozen.effective.definition.time_to_stop_instance, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_pod_has_nothing_of_its_run() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", true).await;
    let why = StatusContainer::because(Reason::Running, "runs").in_phase("Running");
    let row = done(conn, &row, Change::new(Event::Running, now()).because(why)).await;
    let row = done(conn, &row, Change::new(Event::Stop, now())).await;
    assert_eq!((row.status, row.status_requested), (Status::ShuttingDown, StatusRequested::Off));
    let row = done(conn, &row, Change::new(Event::ObjectsGone, now())).await;
    assert_eq!(row.status, Status::Stopped);
    assert_eq!((row.instance_id, row.start_instance_ts, row.time_to_stop_ts), (None, None, None));
    assert_eq!(row.status_container, StatusContainer::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_is_gone_for_users_and_its_successor_waits_for_its_objects() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let old = pod(conn, "docpod", true).await;
    let tombstone = done(conn, &old, Change::new(Event::Delete, now())).await;
    assert!(PodRow::find(conn, &old.tenant(), "docpod", "alice").await.unwrap().is_none());
    for event in [Event::Start, Event::Stop, Event::Delete, Event::Running, Event::Lost] {
        let applied = apply(conn, &tombstone, Change::new(event, now())).await.unwrap();
        assert!(matches!(applied, Applied::Illegal(_)), "{event}: {applied:?}");
    }

    let new = pod(conn, "docpod", true).await;
    assert_eq!((new.k8_name.as_str(), new.uid == old.uid), (old.k8_name.as_str(), false));
    assert_eq!(new.predecessors(conn).await.unwrap(), 1);
    assert_eq!(waiting(conn).await, ["create", "delete", "create"]);
    assert!(!mark_objects_gone(conn, &new, now()).await.unwrap(), "only a tombstone can be settled");
    assert!(mark_objects_gone(conn, &tombstone, now()).await.unwrap());
    assert_eq!(new.predecessors(conn).await.unwrap(), 0);
    assert_eq!(waiting(conn).await, ["predecessor gone"], "the successor is woken");

    let purged = PodRow::purge_tombstones(conn, Utc::now() + TimeDelta::hours(1)).await.unwrap();
    assert_eq!(purged, 1);
    assert_eq!(PodRow::by_uid(conn, old.uid).await.unwrap(), None);
    assert!(PodRow::by_uid(conn, new.uid).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn unsettled_pods_are_the_ones_that_somebody_should_work_on() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let requested = pod(conn, "requested", true).await;
    pod(conn, "stopped", false).await;
    let running = pod(conn, "running", true).await;
    done(conn, &running, Change::new(Event::Running, now())).await;
    let deleted = pod(conn, "deleted", true).await;
    let deleted = done(conn, &deleted, Change::new(Event::Delete, now())).await;
    let settled = pod(conn, "settled", true).await;
    let settled = done(conn, &settled, Change::new(Event::Delete, now())).await;
    assert!(mark_objects_gone(conn, &settled, now()).await.unwrap());

    let later = Utc::now() + TimeDelta::seconds(1);
    let found = PodRow::unsettled(conn, "dev", later).await.unwrap();
    assert_eq!(found.iter().map(|row| row.uid).collect::<Vec<_>>(), [requested.uid, deleted.uid]);
    assert!(PodRow::unsettled(conn, "dev", later - TimeDelta::hours(1)).await.unwrap().is_empty());
    let there = PodRow::not_stopped(conn, "dev").await.unwrap();
    let should_run: Vec<_> = there.iter().filter(|row| row.should_run()).map(|row| row.uid).collect();
    assert_eq!(should_run, [running.uid]);
    let mut uids: Vec<_> = there.iter().map(|row| row.uid).collect();
    uids.sort_unstable();
    let mut expected = [requested.uid, running.uid, deleted.uid];
    expected.sort_unstable();
    assert_eq!(uids, expected, "neither the stopped one nor the one that is gone");
}
