//! Logins of visitors: everything that a browser carries counts once.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;
use diesel_async::RunQueryDsl;
use pods_core::{Tenant, transition::Event, visitor::Visitor};
use pods_db::{
    Connection,
    logins::{
        self,
        clients::{self, Wanted},
        revocations, states,
        tickets::{self, Ticket},
    },
    pods::PodRow,
    testing::{TestDatabase, done, new_pod, now, tenant},
    transitions::Change,
};
use uuid::Uuid;

const MINUTE: Duration = Duration::from_secs(60);
/// The hash of a login.
const LOGIN: &[u8] = b"login";

async fn pod(conn: &mut Connection, pod_id: &str) -> PodRow {
    PodRow::create(conn, new_pod(&tenant(), pod_id, false)).await.unwrap()
}

async fn delete(conn: &mut Connection, pod: &PodRow) {
    done(conn, pod, Change::new(Event::Delete, now())).await;
}

async fn sql(conn: &mut Connection, statement: &str) {
    diesel::sql_query(statement).execute(conn).await.unwrap();
}

fn ticket(pod: &PodRow) -> Ticket {
    Ticket {
        pod_uid: pod.uid,
        network: "default".to_owned(),
        host: "shop.pods.dev.localhost".to_owned(),
        visitor: Visitor { tenant: Tenant::new("dev", "two"), username: "ann".to_owned() },
        token_expires: now() + TimeDelta::hours(4),
    }
}

fn wanted<'a>(pod: &PodRow, client_id: &'a str) -> Wanted<'a> {
    Wanted {
        site_id: "dev",
        tenant_id: "dev",
        client_id,
        pod_uid: pod.uid,
        network: "default",
        callback_url: "http://dev/callback",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_used_up_once() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let soon = now() + TimeDelta::minutes(10);
    assert!(!states::is_used(conn, b"one").await.unwrap());
    assert!(states::use_up(conn, b"one", soon).await.unwrap());
    assert!(states::is_used(conn, b"one").await.unwrap());
    assert!(!states::use_up(conn, b"one", soon).await.unwrap(), "a second time");
    assert!(!states::is_used(conn, b"other").await.unwrap());
    for round in 0..20_u8 {
        let use_up = || async {
            let mut conn = database.conn().await;
            states::use_up(&mut conn, &[round], soon).await.unwrap()
        };
        let (one, two, three) = tokio::join!(use_up(), use_up(), use_up());
        assert_eq!([one, two, three].iter().filter(|first| **first).count(), 1);
    }
    states::use_up(conn, b"over", now() - TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(logins::purge(conn).await.unwrap(), 1, "what does not count any more needs no row");
    assert!(states::is_used(conn, b"one").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_taken_once_in_time_and_for_their_login() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let shop = pod(conn, "shop").await;
    let ticket = ticket(&shop);
    assert!(tickets::put(conn, b"one", LOGIN, &ticket, MINUTE).await.unwrap());
    assert!(tickets::put(conn, b"late", LOGIN, &ticket, Duration::ZERO).await.unwrap());
    assert_eq!(tickets::take(conn, b"other", LOGIN).await.unwrap(), None);
    assert_eq!(tickets::take(conn, b"one", b"another login").await.unwrap(), None);
    assert_eq!(tickets::take(conn, b"one", LOGIN).await.unwrap(), Some(ticket.clone()));
    assert_eq!(tickets::take(conn, b"one", LOGIN).await.unwrap(), None, "a second time");
    assert_eq!(tickets::take(conn, b"late", LOGIN).await.unwrap(), None, "too late");

    delete(conn, &shop).await;
    assert!(!tickets::put(conn, b"two", LOGIN, &ticket, MINUTE).await.unwrap(), "of a deleted pod");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_take_the_same_ticket_do_not_both_have_it() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let shop = pod(conn, "shop").await;
    for round in 0..20_u8 {
        tickets::put(conn, &[round], LOGIN, &ticket(&shop), MINUTE).await.unwrap();
        let take = || async {
            let mut conn = database.conn().await;
            tickets::take(&mut conn, &[round], LOGIN).await.unwrap()
        };
        let (one, two, three) = tokio::join!(take(), take(), take());
        assert_eq!([one, two, three].iter().flatten().count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_are_found_until_the_session_would_have_ended() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let (sid, over) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let soon = now() + TimeDelta::hours(1);
    revocations::add(conn, sid, soon).await.unwrap();
    revocations::add(conn, sid, soon).await.unwrap();
    revocations::add(conn, over, now() - TimeDelta::seconds(1)).await.unwrap();
    let found = |rows: Vec<revocations::Revocation>| rows.iter().map(|row| row.sid).collect::<BTreeSet<_>>();
    let all = revocations::since(conn, None).await.unwrap();
    let at = all[0].at;
    assert_eq!(found(all), BTreeSet::from([sid]));
    assert_eq!(found(revocations::since(conn, Some(at)).await.unwrap()), BTreeSet::from([sid]));
    assert!(revocations::since(conn, Some(at + TimeDelta::microseconds(1))).await.unwrap().is_empty());
    assert_eq!(logins::purge(conn).await.unwrap(), 1);
}

async fn next_try_now(conn: &mut Connection) {
    sql(conn, "UPDATE oauth_clients SET next_try_ts = now()").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_with_its_pod_once_the_platform_has_removed_it() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let shop = pod(conn, "shop").await;
    let wanted = wanted(&shop, "PODS-SERVICE-x");
    let find = async |conn: &mut Connection| clients::find(conn, shop.uid, "default", "dev").await.unwrap();
    assert_eq!(find(conn).await, None);
    assert!(clients::reserve(conn, wanted).await.unwrap());
    assert_eq!(find(conn).await.unwrap().sealed, None, "not registered yet");
    assert!(clients::store_key(conn, wanted, "k1", b"sealed").await.unwrap());
    assert_eq!(find(conn).await.unwrap().sealed.as_deref(), Some(&b"sealed"[..]));
    assert_eq!(clients::due(conn, "dev").await.unwrap(), None);

    delete(conn, &shop).await;
    assert_eq!(find(conn).await, None);
    assert!(!clients::reserve(conn, wanted).await.unwrap(), "of a deleted pod");
    assert_eq!(clients::due(conn, "elsewhere").await.unwrap(), None, "another site's");
    let first = clients::due(conn, "dev").await.unwrap().expect("one is due");
    assert_eq!((first.client_id.as_str(), first.tries), ("PODS-SERVICE-x", 0));
    assert_eq!(clients::due(conn, "dev").await.unwrap(), None, "somebody has it");
    clients::not_removed(conn, &first, MINUTE).await.unwrap();
    assert_eq!(clients::due(conn, "dev").await.unwrap(), None, "later");
    next_try_now(conn).await;
    let second = clients::due(conn, "dev").await.unwrap().expect("it is tried again");
    assert_eq!(second.tries, 1);
    clients::removed(conn, &first).await.unwrap();
    clients::not_removed(conn, &first, MINUTE).await.unwrap();
    next_try_now(conn).await;
    assert_eq!(
        clients::due(conn, "dev").await.unwrap().map(|due| due.tries),
        Some(1),
        "who came too late changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pod_of_the_same_name_takes_its_client_over() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let old = pod(conn, "shop").await;
    assert!(clients::reserve(conn, wanted(&old, "PODS-SERVICE-x")).await.unwrap());
    delete(conn, &old).await;
    let new = pod(conn, "shop").await;
    let removal = clients::due(conn, "dev").await.unwrap().expect("one is due");
    assert!(!clients::reserve(conn, wanted(&new, "PODS-SERVICE-x")).await.unwrap(), "it is being removed");
    clients::not_removed(conn, &removal, MINUTE).await.unwrap();
    assert!(clients::reserve(conn, wanted(&new, "PODS-SERVICE-x")).await.unwrap());
    clients::removed(conn, &removal).await.unwrap();
    next_try_now(conn).await;
    assert_eq!(clients::due(conn, "dev").await.unwrap(), None, "nobody removes what the new pod needs");
    assert!(clients::find(conn, new.uid, "default", "dev").await.unwrap().is_some());
    assert!(!clients::store_key(conn, wanted(&old, "PODS-SERVICE-x"), "k1", b"x").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_platform_registered_too_late_is_removed_all_the_same() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let shop = pod(conn, "shop").await;
    let client = wanted(&shop, "PODS-SERVICE-x");
    clients::reserve(conn, client).await.unwrap();
    clients::left_over(conn, client).await.unwrap();
    assert_eq!(clients::due(conn, "dev").await.unwrap(), None, "its entry needs it");

    delete(conn, &shop).await;
    let early = clients::due(conn, "dev").await.unwrap().expect("it goes with its pod");
    assert!(!clients::store_key(conn, client, "k1", b"sealed").await.unwrap());
    clients::left_over(conn, client).await.unwrap();
    clients::removed(conn, &early).await.unwrap();
    assert_eq!(clients::due(conn, "dev").await.unwrap(), None, "the early removal may still be on its way");
    let new = pod(conn, "shop").await;
    assert!(!clients::reserve(conn, wanted(&new, "PODS-SERVICE-x")).await.unwrap());
    next_try_now(conn).await;
    let late = clients::due(conn, "dev").await.unwrap().expect("it is removed again");
    clients::removed(conn, &late).await.unwrap();

    // Everything was over before the platform answered.
    clients::left_over(conn, client).await.unwrap();
    let late = clients::due(conn, "dev").await.unwrap().expect("nothing is forgotten");
    clients::removed(conn, &late).await.unwrap();
    assert!(clients::reserve(conn, wanted(&new, "PODS-SERVICE-x")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_asked_for_again_keeps_its_key_meanwhile() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let shop = pod(conn, "shop").await;
    let client = wanted(&shop, "x");
    let key = async |conn: &mut Connection| {
        clients::find(conn, shop.uid, "default", "dev").await.unwrap().map(|client| client.sealed.is_some())
    };
    assert!(clients::reserve(conn, client).await.unwrap());
    assert!(clients::store_key(conn, client, "k1", b"sealed").await.unwrap());
    assert!(clients::reserve(conn, client).await.unwrap());
    assert_eq!(key(conn).await, Some(true));
    let elsewhere = Wanted { callback_url: "http://elsewhere/callback", ..client };
    assert!(clients::reserve(conn, elsewhere).await.unwrap());
    assert_eq!(key(conn).await, Some(false), "it was for another address");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_has_one_client_whoever_registers_it_at_the_same_time() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let shop = pod(conn, "shop").await;
    assert!(clients::reserve(conn, wanted(&shop, "x-one")).await.unwrap());
    assert!(!clients::reserve(conn, wanted(&shop, "x-two")).await.unwrap(), "another one came first");
    assert!(clients::reserve(conn, wanted(&shop, "x-one")).await.unwrap(), "the same one again");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_looked_at_in_turn() {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let shop = pod(conn, "shop").await;
    assert!(clients::reserve(conn, wanted(&shop, "x")).await.unwrap());
    assert_eq!(clients::to_check(conn, "dev", MINUTE, 10).await.unwrap(), [], "just now");
    let [checked] = &clients::to_check(conn, "dev", Duration::ZERO, 10).await.unwrap()[..] else {
        panic!("one")
    };
    assert_eq!((checked.pod_uid, checked.network.as_str()), (shop.uid, "default"));
    clients::abandon(conn, wanted(&shop, "x")).await.unwrap();
    assert_eq!(clients::find(conn, shop.uid, "default", "dev").await.unwrap(), None);

    assert!(clients::reserve(conn, wanted(&shop, "y")).await.unwrap());
    assert!(clients::store_key(conn, wanted(&shop, "y"), "k1", b"old").await.unwrap());
    clients::abandon(conn, wanted(&shop, "y")).await.unwrap();
    let [checked] = &clients::to_check(conn, "dev", Duration::ZERO, 10).await.unwrap()[..] else {
        panic!("it stays")
    };
    clients::reseal(conn, checked, "k2", b"new").await.unwrap();
    clients::reseal(conn, checked, "k3", b"too late").await.unwrap();
    assert_eq!(
        clients::find(conn, shop.uid, "default", "dev").await.unwrap().unwrap().key_id.as_deref(),
        Some("k2")
    );
    clients::forget_key(conn, "dev", "y").await.unwrap();
    let found = clients::find(conn, shop.uid, "default", "dev").await.unwrap().unwrap();
    assert!(found.sealed.is_some(), "the platform told it just now");
    sql(conn, "UPDATE oauth_clients SET key_ts = now() - interval '2 minutes'").await;
    clients::forget_key(conn, "dev", "y").await.unwrap();
    assert_eq!(clients::find(conn, shop.uid, "default", "dev").await.unwrap().unwrap().sealed, None);
    assert_eq!(clients::unwanted(conn, shop.uid, &["default".to_owned()]).await.unwrap(), 1);
    assert!(clients::due(conn, "dev").await.unwrap().is_some());
}
