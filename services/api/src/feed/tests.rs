use pods_db::changes::Change;

use super::*;

fn viewer(tenant: &str, username: Option<&str>, pods: &[&str]) -> Viewer {
    Viewer {
        tenant_id: tenant.to_owned(),
        username: username.map(ToOwned::to_owned),
        pods: (!pods.is_empty()).then(|| pods.iter().map(|id| (*id).to_owned()).collect()),
    }
}

fn place(id: i64) -> Cursor {
    Cursor { xid: 1, id }
}

/// The entry of a pod `web` of the tenant `dev`.
fn entry(id: i64, readers: &[&str]) -> Entry {
    entry::tests::of_pod(
        &Change { cursor: place(id), pod_uid: uuid::Uuid::nil(), hidden_from: None },
        readers,
    )
}

async fn subscribe(hub: &Hub, viewer: Viewer) -> Subscription {
    hub.subscribe(&viewer).await.unwrap()
}

/// What waits for a subscriber.
fn waiting(subscription: &mut Subscription) -> Vec<i64> {
    let mut seen = Vec::new();
    while let Ok(message) = subscription.receiver.try_recv() {
        match message {
            Message::Entry(entry) => seen.push(entry.cursor.id),
            Message::Resync(_) => seen.push(-1),
        }
    }
    seen
}

#[tokio::test]
async fn an_entry_reaches_those_who_may_see_it_and_asked_for_it() {
    let hub = Hub::default();
    hub.publish(Vec::new(), place(0));
    let mut ann = subscribe(&hub, viewer("dev", Some("ann"), &[])).await;
    let mut picky = subscribe(&hub, viewer("dev", Some("ann"), &["other"])).await;
    let mut bob = subscribe(&hub, viewer("dev", Some("bob"), &[])).await;
    let mut root = subscribe(&hub, viewer("dev", None, &["web"])).await;
    let mut namesake = subscribe(&hub, viewer("dev-two", Some("ann"), &[])).await;
    let mut stranger = subscribe(&hub, viewer("dev-two", None, &[])).await;
    hub.publish(vec![entry(1, &["ann", "carl"]), entry(2, &["bob"]), entry(3, &[])], place(3));
    assert_eq!(waiting(&mut ann), [1]);
    assert_eq!(waiting(&mut bob), [2]);
    assert_eq!(waiting(&mut root), [1, 2, 3]);
    for nobody in [&mut picky, &mut namesake, &mut stranger] {
        assert!(waiting(nobody).is_empty());
    }
    hub.resync(place(9));
    assert_eq!((waiting(&mut ann), hub.position()), (vec![-1], Some(place(9))));
}

#[tokio::test]
async fn who_does_not_keep_up_loses_the_subscription_and_nobody_else_does() {
    let hub = Hub::default();
    hub.publish(Vec::new(), place(0));
    let mut slow = subscribe(&hub, viewer("dev", Some("ann"), &[])).await;
    let mut quick = subscribe(&hub, viewer("dev", Some("ann"), &[])).await;
    let many = WAITING as i64 + 10;
    for id in 1..=many {
        hub.publish(vec![entry(id, &["ann"])], place(id));
        assert_eq!(waiting(&mut quick), [id]);
    }
    assert_eq!(hub.count(), 1);
    assert_eq!(waiting(&mut slow).len(), WAITING);
    assert!(slow.next().await.is_none());
    drop(slow);
    drop(quick);
    assert_eq!(hub.count(), 0);
    assert!(hub.subscribers().tenants.is_empty(), "nobody is remembered");
    assert!(hub.rest() && hub.position().is_none());
}

#[tokio::test(start_paused = true)]
async fn without_a_reader_there_is_no_subscription() {
    let hub = Hub::default();
    let refused = hub.subscribe(&viewer("dev", None, &[])).await;
    assert!(matches!(refused, Err(ApiError::Unavailable(_))));
    assert_eq!(hub.count(), 0);
}
