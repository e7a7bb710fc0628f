//! Custom domains: rows that follow the pods, and one pod for each domain.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use pods_core::{
    Networking, PodDefinition, Protocol,
    domains::{Answer, Finding, Patience, decide},
    transition::Event,
};
use pods_db::{
    Connection, action_logs, changes,
    domains::{self, Due, Lane},
    pods::{NewPodRow, PodRow},
    testing::{TestDatabase, definition, done, new_pod, now, tenant, update},
    transitions::Change,
};
use uuid::Uuid;

const PATIENCE: Patience =
    Patience { recheck: TimeDelta::hours(1), grace: TimeDelta::hours(1), silence: TimeDelta::days(7) };

fn wants(domain: &str) -> PodDefinition {
    let entry = Networking { custom_domain: domain.to_owned(), ..Networking::default() };
    PodDefinition { networking: BTreeMap::from([("default".to_owned(), entry)]), ..definition() }
}

async fn pod(conn: &mut Connection, pod_id: &str, definition: PodDefinition) -> PodRow {
    let tenant = tenant();
    PodRow::create(conn, NewPodRow { definition, ..new_pod(&tenant, pod_id, false) }).await.unwrap()
}

async fn read(conn: &mut Connection, uid: Uuid) -> PodRow {
    PodRow::by_uid(conn, uid).await.unwrap().unwrap()
}

async fn is_led(conn: &mut Connection, uid: Uuid) -> bool {
    read(conn, uid).await.definition.networking["default"].custom_domain_verified
}

/// Domains of a lane that are due, at most ten.
async fn due(conn: &mut Connection, site_id: &str, lane: Lane, now: DateTime<Utc>) -> Vec<String> {
    domains::due(conn, &Due { site_id, lane, now, without: &[], limit: 10 }).await.unwrap()
}

/// A look of the checker at a domain whose record names `named`.
async fn look(conn: &mut Connection, domain: &str, named: &[Uuid], now: DateTime<Utc>) {
    let known = domains::claims(conn, domain).await.unwrap();
    let claims: Vec<_> = known.iter().map(|known| known.claim.clone()).collect();
    let answer = Answer::Names(named.iter().copied().collect());
    for verdict in decide(&claims, &answer, false, PATIENCE, now) {
        let before = known.iter().find(|known| known.claim.pod_uid == verdict.after.pod_uid).unwrap();
        assert!(domains::record(conn, before, &verdict, now).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_follow_what_pods_name() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let soon = now() + TimeDelta::seconds(1);
    pod(conn, "plain", definition()).await;
    let row = pod(conn, "shop", wants("shop.example.org")).await;
    assert_eq!(due(conn, "dev", Lane::Wanted, soon).await, ["shop.example.org"]);
    assert!(due(conn, "other", Lane::Wanted, soon).await.is_empty(), "another site's affair");

    let row = update(conn, &row, wants("new.example.org")).await.unwrap();
    assert_eq!(due(conn, "dev", Lane::Wanted, soon).await, ["new.example.org"]);
    let mut tcp = wants("new.example.org");
    tcp.networking.get_mut("default").unwrap().protocol = Protocol::Tcp;
    let row = update(conn, &row, tcp).await.unwrap();
    assert!(domains::of_pod(conn, row.uid).await.unwrap().is_empty(), "only HTTP has domains");

    // Under another name of the entry it is the same claim.
    let row = update(conn, &row, wants("new.example.org")).await.unwrap();
    let claimed = domains::of_pod(conn, row.uid).await.unwrap();
    let mut renamed = wants("new.example.org");
    let entry = renamed.networking.remove("default").unwrap();
    renamed.networking.insert("web".to_owned(), entry);
    let row = update(conn, &row, renamed).await.unwrap();
    assert_eq!(domains::of_pod(conn, row.uid).await.unwrap(), claimed);

    done(conn, &row, Change::new(Event::Delete, now())).await;
    assert!(domains::of_pod(conn, row.uid).await.unwrap().is_empty());
    assert_eq!(domains::tenant_hosts(conn).await.unwrap(), ["dev.localhost"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_domain_stands_in_the_pod_and_in_the_feed() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let row = pod(conn, "shop", wants("shop.example.org")).await;
    database.changes_settle().await;
    let begin = changes::head(conn).await.unwrap();
    let at = now();
    look(conn, "shop.example.org", &[], at).await;
    database.changes_settle().await;
    let (changed, begin) = changes::since(conn, begin, 10).await.unwrap();
    assert!(changed.is_empty() && !is_led(conn, row.uid).await, "nothing about the pod has changed");

    look(conn, "shop.example.org", &[row.uid], at).await;
    database.changes_settle().await;
    let (changed, begin) = changes::since(conn, begin, 10).await.unwrap();
    assert_eq!(changed, [row.uid]);
    assert!(is_led(conn, row.uid).await);
    let after = read(conn, row.uid).await;
    assert_eq!((after.revision, after.update_ts), (row.revision + 1, row.update_ts));
    let claim = domains::of_pod(conn, row.uid).await.unwrap().remove(0);
    assert_eq!((claim.verified, claim.finding), (Some(at), Some(Finding::Proven)));
    assert!(due(conn, "dev", Lane::Held, at + TimeDelta::minutes(59)).await.is_empty());
    assert!(update(conn, &row, definition()).await.is_none(), "a change that did not see it reads again");

    // The record vanishes: an hour later the domain leads nowhere.
    look(conn, "shop.example.org", &[], at).await;
    assert!(is_led(conn, row.uid).await);
    look(conn, "shop.example.org", &[], at + TimeDelta::hours(1)).await;
    assert!(!is_led(conn, row.uid).await);
    database.changes_settle().await;
    assert_eq!(changes::since(conn, begin, 10).await.unwrap().0, [row.uid]);
    let log = action_logs::list(conn, row.uid).await.unwrap().join("\n");
    for part in ["is not verified yet: create a TXT record", "is verified", "has lost its proof", "no longer"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_one_pod_s_and_free_again_with_its_deletion() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let first = pod(conn, "first", wants("shop.example.org")).await;
    let second = pod(conn, "second", wants("shop.example.org")).await;
    let (at, both) = (now(), [first.uid, second.uid]);
    look(conn, "shop.example.org", &both, at).await;
    assert!(is_led(conn, first.uid).await && !is_led(conn, second.uid).await);

    // The record moves it.
    look(conn, "shop.example.org", &[second.uid], at).await;
    assert!(!is_led(conn, first.uid).await && is_led(conn, second.uid).await);

    // So does the deletion of the pod that has it.
    look(conn, "shop.example.org", &both, at).await;
    assert!(is_led(conn, second.uid).await, "whoever has it keeps it");
    let row = read(conn, second.uid).await;
    done(conn, &row, Change::new(Event::Delete, now())).await;
    look(conn, "shop.example.org", &both, at).await;
    assert!(is_led(conn, first.uid).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_checkers_never_give_a_domain_twice() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let first = pod(conn, "first", wants("shop.example.org")).await;
    let second = pod(conn, "second", wants("shop.example.org")).await;
    let known = domains::claims(conn, "shop.example.org").await.unwrap();
    let verdict = |uid: Uuid| {
        let known = known.iter().find(|known| known.claim.pod_uid == uid).unwrap();
        let answer = Answer::Names([uid].into());
        (known, decide(std::slice::from_ref(&known.claim), &answer, false, PATIENCE, now()).remove(0))
    };
    let (before, verdict_first) = verdict(first.uid);
    assert!(domains::record(conn, before, &verdict_first, now()).await.unwrap());
    assert!(!domains::record(conn, before, &verdict_first, now()).await.unwrap(), "decided from old facts");
    let (before, verdict_second) = verdict(second.uid);
    assert!(!domains::record(conn, before, &verdict_second, now()).await.unwrap(), "it is the first one's");
    assert!(is_led(conn, first.uid).await && !is_led(conn, second.uid).await);
    assert_eq!(
        action_logs::list(conn, second.uid).await.unwrap().len(),
        1,
        "what did not happen has no line"
    );

    // A pod that no longer wants the domain does not get it.
    let (before, verdict) = verdict(second.uid);
    update(conn, &second, definition()).await.unwrap();
    assert!(!domains::record(conn, before, &verdict, now()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_many_domains_keeps_nobody_waiting() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    for number in 0..20 {
        pod(conn, &format!("many{number}"), wants(&format!("many{number}.example.org"))).await;
    }
    let tenant = tenant();
    let bobs = NewPodRow {
        creator: "bob",
        definition: wants("shop.example.org"),
        ..new_pod(&tenant, "shop", false)
    };
    let bobs = PodRow::create(conn, bobs).await.unwrap();
    let at = now() + TimeDelta::seconds(1);
    let waiting = due(conn, "dev", Lane::Wanted, at).await;
    assert_eq!(waiting.len(), 10);
    assert!(waiting[..2].contains(&"shop.example.org".to_owned()), "{waiting:?}");
    let without = &waiting[..];
    let others = Due { site_id: "dev", lane: Lane::Wanted, now: at, without, limit: 100 };
    let rest = domains::due(conn, &others).await.unwrap();
    assert!(rest.len() == 11 && rest.iter().all(|domain| !waiting.contains(domain)), "{rest:?}");

    // Each domain is in one lane.
    look(conn, "shop.example.org", &[bobs.uid], at).await;
    let known = domains::claims(conn, "many0.example.org").await.unwrap();
    let silent = decide(&[known[0].claim.clone()], &Answer::Nothing, false, PATIENCE, at).remove(0);
    assert!(domains::record(conn, &known[0], &silent, at).await.unwrap());
    let later = at + TimeDelta::hours(2);
    assert_eq!(due(conn, "dev", Lane::Held, later).await, ["shop.example.org"]);
    assert_eq!(due(conn, "dev", Lane::Silent, later).await, ["many0.example.org"]);
    let wanted = Due { site_id: "dev", lane: Lane::Wanted, now: later, without: &[], limit: 100 };
    assert_eq!(domains::due(conn, &wanted).await.unwrap().len(), 19);
}
