//! `GET /pods/events`.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use pods_api::sse::StreamLimits;
use pods_core::transition::Event;
use pods_db::changes;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    app::{Caller, Setup, TestApp},
    streams::Stream,
};

const PATH: &str = "/v3/pods/events";

/// A stream that begins after everything that has happened so far, unless it is asked for more: a place in the feed is
/// that of the oldest transaction that still runs, also of another test, and may lie before what is known already.
async fn watch(caller: &Caller<'_>, query: &str) -> Stream {
    caller.app.database.changes_settle().await;
    Stream::open(caller, &format!("{PATH}{query}")).await
}

/// A list, and the stream that goes on from it.
async fn list_and_watch(caller: &Caller<'_>) -> Stream {
    caller.app.database.changes_settle().await;
    let list = caller.get("/v3/pods").await;
    let cursor = list.headers["x-pods-cursor"].to_str().unwrap().to_owned();
    watch(caller, &format!("?cursor={cursor}")).await
}

/// The next event as `name pod_id status`.
async fn told(stream: &mut Stream) -> String {
    let event = stream.event().await;
    let word = |key: &str| event.data[key].as_str().unwrap_or("-").to_owned();
    format!("{} {} {}", event.name, word("pod_id"), word("status"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_and_the_stream_from_its_cursor_miss_nothing() {
    let app = TestApp::start().await;
    let alice = app.alice();
    alice.create("before", json!({})).await;
    let mut stream = list_and_watch(&alice).await;
    alice.create("web", json!({})).await;
    let first = stream.event().await;
    assert_eq!((first.name.as_str(), &first.data["pod_id"]), ("pod", &json!("web")));
    let known: Vec<&str> = first.data.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        known,
        [
            "creation_ts",
            "instance_id",
            "last_status_check_ts",
            "networking_live",
            "pod_id",
            "revision",
            "start_instance_ts",
            "status",
            "status_container",
            "status_requested",
            "time_to_stop_ts",
            "uid",
            "update_ts"
        ]
    );
    alice.get("/v3/pods/web/start").await.ok();
    assert_eq!(told(&mut stream).await, "pod web REQUESTED");
    app.happens("web", Event::SpawnBegun).await;
    assert_eq!(told(&mut stream).await, "pod web SPAWNING");
    app.happens("web", Event::Running).await;
    let running = stream.event().await;
    assert_eq!(
        (&running.data["status"], &running.data["networking_live"]),
        (&json!("AVAILABLE"), &json!(true))
    );
    assert!(running.data["revision"].as_i64() > first.data["revision"].as_i64());
    assert_eq!(running.data["uid"], first.data["uid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_gets_what_was_missed_once_and_in_order() {
    let app = TestApp::start().await;
    let alice = app.alice();
    for id in ["one", "two", "three"] {
        alice.create(id, json!({})).await;
    }
    let mut stream = list_and_watch(&alice).await;
    alice.put("/v3/pods/one", json!({"description": "seen"})).await.ok();
    assert_eq!(told(&mut stream).await, "pod one STOPPED");
    let last = stream.last_id.clone().unwrap();
    drop(stream);
    for id in ["two", "one", "three"] {
        alice.put(&format!("/v3/pods/{id}"), json!({"description": "missed"})).await.ok();
    }
    alice.put("/v3/pods/two", json!({"description": "missed twice"})).await.ok();
    let mut ids = Vec::new();
    // The header counts before what the address was made with.
    let back = alice.clone().with("last-event-id", &last);
    for (query, caller) in [("?cursor=1-1", &back), (&*format!("?cursor={last}"), &alice)] {
        let mut stream = watch(caller, query).await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(told(&mut stream).await);
            ids.push(stream.last_id.clone().unwrap());
        }
        assert_eq!(seen, ["pod one STOPPED", "pod three STOPPED", "pod two STOPPED"], "{query}");
        alice.put("/v3/pods/one", json!({"description": query})).await.ok();
        assert_eq!(told(&mut stream).await, "pod one STOPPED", "and then what happens");
        // Back to what was missed, for the next round.
        ids.push(stream.last_id.clone().unwrap());
        let again = watch(&alice, &format!("?cursor={}", ids[ids.len() - 2])).await.event().await;
        assert_eq!(again.data["pod_id"], "one", "nothing before the cursor is repeated");
        if query == "?cursor=1-1" {
            alice.put("/v3/pods/three", json!({"description": query})).await.ok();
            alice.put("/v3/pods/two", json!({"description": query})).await.ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_and_repeated_ones_have_the_same_ids() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let mut live = list_and_watch(&alice).await;
    let begin = {
        let list = alice.get("/v3/pods").await;
        list.headers["x-pods-cursor"].to_str().unwrap().to_owned()
    };
    for id in ["one", "two", "three"] {
        alice.create(id, json!({})).await;
        assert_eq!(told(&mut live).await, format!("pod {id} STOPPED"));
    }
    let mut again = watch(&alice, &format!("?cursor={begin}")).await;
    let mut last = None;
    for id in ["one", "two", "three"] {
        assert_eq!(told(&mut again).await, format!("pod {id} STOPPED"));
        last = again.last_id.clone();
    }
    assert_eq!(last, live.last_id, "whoever reads the feed, and in whatever pieces");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_everything_there_is_and_goes_on() {
    let app = TestApp::start().await;
    let alice = app.alice();
    alice.create("one", json!({})).await;
    alice.create("two", json!({})).await;
    app.bob().create("foreign", json!({})).await;
    let mut stream = watch(&alice, "?snapshot=true").await;
    assert_eq!([told(&mut stream).await, told(&mut stream).await], ["pod one STOPPED", "pod two STOPPED"]);
    assert_eq!(stream.last_id, None, "who leaves in the middle begins anew");
    let complete = stream.event().await;
    assert_eq!((complete.name.as_str(), &complete.data), ("snapshot", &json!({"pods": 2})));
    let last = stream.last_id.clone().unwrap();
    alice.create("three", json!({})).await;
    assert_eq!(told(&mut stream).await, "pod three STOPPED");

    // An address with `snapshot` is good for coming back, too: the header counts before it.
    let back = alice.clone().with("last-event-id", last);
    assert_eq!(told(&mut watch(&back, "?snapshot=true").await).await, "pod three STOPPED");
    let mut picky = watch(&alice, "?snapshot=true&pod_id=three&pod_id=nowhere&pod_id=foreign").await;
    assert_eq!(told(&mut picky).await, "pod three STOPPED");
    assert_eq!(picky.event().await.data, json!({"pods": 1}));
}

/// Changes alice's pod `web` and waits until its owner was told: from then on nobody else is told of it any more. Who may
/// read a pod is looked up when a change is handed out.
async fn change_unseen(alice: &Caller<'_>, owners: &mut Stream, description: &str) {
    alice.put("/v3/pods/web", json!({"description": description})).await.ok();
    let revision = alice.app.row("web").await.revision;
    while owners.event().await.data["revision"] != json!(revision) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_count_when_something_happens() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.alice(), app.bob());
    alice.create("web", json!({})).await;
    alice.create("own", json!({})).await;
    let mut owners = list_and_watch(&alice).await;
    let mut stream = list_and_watch(&bob).await;
    change_unseen(&alice, &mut owners, "secret").await;
    alice.grant("web", "bob", "READ").await;
    assert_eq!(told(&mut stream).await, "pod web STOPPED", "the first that bob hears");
    let granted = stream.last_id.clone().unwrap();
    alice.put("/v3/pods/web", json!({"description": "shared"})).await.ok();
    assert_eq!(told(&mut stream).await, "pod web STOPPED");
    alice.delete("/v3/pods/web/permissions/bob").await.ok();
    let hidden = stream.event().await;
    let gone: Vec<&str> = hidden.data.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((hidden.name.as_str(), &hidden.data["pod_id"]), ("pod_hidden", &json!("web")));
    assert_eq!(gone, ["pod_id", "uid"], "and nothing of what it has become");
    change_unseen(&alice, &mut owners, "secret again").await;
    alice.grant("web", "bob", "USER").await;
    assert_eq!(told(&mut stream).await, "pod web STOPPED", "not what happened in between");
    alice.grant("web", "bob", "NONE").await;
    assert_eq!(told(&mut stream).await, "pod_hidden web -");
    // Who never had a permission is not told that there is a pod.
    alice.grant("own", "bob", "NONE").await;
    alice.delete("/v3/pods/own/permissions/bob").await.ok();
    bob.create("mine", json!({})).await;
    assert_eq!(told(&mut stream).await, "pod mine STOPPED");

    let mut back = watch(&bob, &format!("?cursor={granted}")).await;
    assert_eq!(told(&mut back).await, "pod_hidden web -", "of what was missed, what counts");
    assert_eq!(told(&mut back).await, "pod mine STOPPED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_is_gone_once_and_its_id_can_come_back() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let mut stream = list_and_watch(&alice).await;
    alice.create("web", json!({})).await;
    let first = stream.event().await;
    let begin = stream.last_id.clone().unwrap();
    let row = app.row("web").await;
    alice.delete("/v3/pods/web").await.ok();
    let deleted = stream.event().await;
    assert_eq!((deleted.name.as_str(), &deleted.data["uid"]), ("pod_deleted", &first.data["uid"]));
    alice.create("web", json!({})).await;
    let second = stream.event().await;
    assert_eq!((second.name.as_str(), &second.data["pod_id"]), ("pod", &json!("web")));
    assert_ne!(second.data["uid"], first.data["uid"]);
    // What becomes of the objects of the first one is nobody's business any more.
    app.tombstone_settles(row.uid).await;
    alice.create("next", json!({})).await;
    assert_eq!(told(&mut stream).await, "pod next STOPPED");

    let mut back = watch(&alice, &format!("?cursor={begin}")).await;
    let seen = [told(&mut back).await, told(&mut back).await, told(&mut back).await];
    assert_eq!(seen, ["pod_deleted web -", "pod web STOPPED", "pod next STOPPED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_the_tenant_and_no_other() {
    let app = TestApp::start().await;
    let mut root = watch(&app.admin_mode(), "?snapshot=1").await;
    assert_eq!(root.event().await.data, json!({"pods": 0}));
    let mut role_only = list_and_watch(&app.admin()).await;
    let mut other = list_and_watch(&app.other_alice()).await;
    app.other_alice().create("elsewhere", json!({})).await;
    assert_eq!(told(&mut other).await, "pod elsewhere STOPPED");
    app.alice().create("web", json!({})).await;
    assert_eq!(told(&mut root).await, "pod web STOPPED", "and not that of the other tenant");
    app.alice().grant("web", "bob", "READ").await;
    assert_eq!(told(&mut root).await, "pod web STOPPED");
    app.alice().delete("/v3/pods/web/permissions/bob").await.ok();
    assert_eq!(told(&mut root).await, "pod web STOPPED", "nothing is hidden from administrators");
    app.admin().create("roots", json!({})).await;
    assert_eq!(told(&mut role_only).await, "pod roots STOPPED", "the role alone sees its own");
    app.other_alice().create("end", json!({})).await;
    assert_eq!(told(&mut other).await, "pod end STOPPED");
    app.alice().with("x-pods-admin", "true").get(PATH).await.is(403, "administrator role");
    app.anonymous().get(PATH).await.is(401, "token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_of_no_use_is_refused_with_the_way_on() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let list = alice.get("/v3/pods").await;
    let old = list.headers["x-pods-cursor"].to_str().unwrap().to_owned();
    alice.create("web", json!({})).await;
    changes::prune(&mut *app.conn().await, Utc::now() + TimeDelta::hours(1)).await.unwrap();
    for cursor in [&*old, "9000000000000-1"] {
        let refused = alice.get(&format!("{PATH}?cursor={cursor}")).await;
        refused.is(410, "X-Pods-Cursor");
        refused.is(410, "snapshot=true");
        alice.clone().with("last-event-id", cursor).get(PATH).await.is(410, cursor);
        let mut stream = watch(&alice, &format!("?cursor={cursor}&snapshot=true")).await;
        let resync = stream.event().await;
        assert_eq!((resync.name.as_str(), &resync.id), ("resync", &None));
        assert_eq!(told(&mut stream).await, "pod web STOPPED");
        assert_eq!(stream.event().await.name, "snapshot");
    }
    for bad in ["x", "1", "1-", "-1-1", "1-1-1"] {
        alice.get(&format!("{PATH}?cursor={bad}")).await.is_invalid("query, cursor");
        alice.clone().with("last-event-id", bad).get(PATH).await.is_invalid("header, Last-Event-ID");
    }
    alice.get(&format!("{PATH}?snapshot=perhaps")).await.is_invalid("query, snapshot");
    let many: String = (0..101).map(|id| format!("pod_id=p{id}&")).collect();
    alice.get(&format!("{PATH}?{many}")).await.is_invalid("query, pod_id");
    let mut stream = list_and_watch(&alice).await;
    alice.create("after", json!({})).await;
    assert_eq!(told(&mut stream).await, "pod after STOPPED", "the way on works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_loses_its_place_says_so_and_goes_on() {
    let app = TestApp::start().await;
    let alice = app.alice();
    alice.create("web", json!({})).await;
    let mut plain = watch(&alice, "").await;
    let mut with_snapshot = watch(&alice, "?snapshot=true").await;
    assert_eq!(told(&mut with_snapshot).await, "pod web STOPPED");
    assert_eq!(with_snapshot.event().await.name, "snapshot");
    // As if the reader had not come to read for hours.
    app.forget_changes().await;
    let resync = plain.event().await;
    assert_eq!(resync.name, "resync");
    assert!(resync.data["message"].as_str().unwrap().contains("List the pods"), "{}", resync.data);
    assert!(plain.last_id.is_some());
    assert_eq!(with_snapshot.event().await.name, "resync");
    assert_eq!(told(&mut with_snapshot).await, "pod web STOPPED");
    assert_eq!(with_snapshot.event().await.name, "snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_carry_a_client_along_with_what_is_not_for_it() {
    let streams = StreamLimits { heartbeat: Duration::from_millis(300), ..StreamLimits::default() };
    let app = TestApp::start_with(Setup { streams, ..Setup::default() }).await;
    let mut quiet = watch(&app.bob(), "").await;
    let begin = quiet.next_id().await;
    for id in 0..5 {
        app.alice().create(&format!("pod{id}"), json!({})).await;
    }
    // Only then the end of the feed lies beyond them.
    app.database.changes_settle().await;
    let reached = changes::head(&mut *app.conn().await).await.unwrap();
    let mut id = quiet.next_id().await;
    while id.parse::<changes::Cursor>().unwrap() < reached {
        id = quiet.next_id().await;
    }
    assert!(id.parse::<changes::Cursor>().unwrap() > begin.parse().unwrap());
    assert_eq!(quiet.events, 0, "and nothing else came");
    app.bob().create("own", json!({})).await;
    assert_eq!(told(&mut quiet).await, "pod own STOPPED");
    let mut back = watch(&app.bob(), &format!("?cursor={id}")).await;
    assert_eq!(told(&mut back).await, "pod own STOPPED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_costs_its_size_and_not_its_listeners() {
    let app = TestApp::start().await;
    let alice = app.alice();
    alice.create("web", json!({})).await;
    let mut streams = Vec::new();
    for _ in 0..15 {
        streams.push(watch(&alice, "").await);
    }
    // A few looks of three statements each, and the reads of those whose queues were too short for all of it. While a
    // transaction of another test holds the feed back there are more looks, so the cheapest of some bursts counts.
    let mut cheapest = usize::MAX;
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        cheapest = cheapest.min(cost_of_a_burst(&app, name, &mut streams).await);
        if cheapest < 15 * 10 + 60 {
            return;
        }
    }
    panic!("{cheapest} statements for 400 changes and 15 listeners");
}

/// How many statements it takes until everybody has heard of 400 new pods.
async fn cost_of_a_burst(app: &TestApp, name: &str, streams: &mut [Stream]) -> usize {
    app.database.changes_settle().await;
    let before = app.statements();
    app.create_rows(name, 400).await;
    for stream in &mut *streams {
        let mut seen = std::collections::HashSet::new();
        while seen.len() < 400 {
            let event: Value = stream.event().await.data;
            let pod_id = event["pod_id"].as_str().unwrap();
            if pod_id.starts_with(name) {
                seen.insert(pod_id.to_owned());
            }
        }
    }
    let used = app.statements() - before;
    // Taken afterwards: what was told is settled, so the end of the feed is beyond it.
    let head = changes::head(&mut *app.conn().await).await.unwrap();
    for stream in streams {
        assert!(stream.last_id.as_ref().unwrap().parse::<changes::Cursor>().unwrap() < head);
    }
    used
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_the_headers_and_pages_of_other_origins_may_read_them() {
    let cors = pods_api::middleware::cors::Origins::parse(&["*".to_owned()]).unwrap();
    let http = pods_api::state::HttpPolicy { cors, ..Default::default() };
    let app = TestApp::start_with(Setup { http, ..Setup::default() }).await;
    let alice = app.alice().with("origin", "https://ui.example.org").with("x-request-id", "mine");
    for method in [Method::HEAD, Method::GET] {
        let answer = alice.raw(method.clone(), PATH).await;
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream", "{method}");
        assert_eq!(header("cache-control"), "no-store, no-transform");
        assert_eq!(header("x-accel-buffering"), "no");
        assert_eq!(header("access-control-allow-origin"), "https://ui.example.org");
        assert_eq!(header("x-request-id"), "mine");
        assert!(answer.headers().get("content-encoding").is_none());
        if method == Method::HEAD {
            assert!(answer.bytes().await.unwrap().is_empty());
        }
    }
    let list = alice.raw(Method::GET, "/pods").await;
    assert!(list.headers().contains_key("x-pods-cursor"));
    let exposed = list.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("x-pods-cursor"), "{exposed}");
}
