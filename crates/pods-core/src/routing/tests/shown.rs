//! Which pods the document leads to.

use super::*;

#[test]
fn a_pod_that_is_not_whole_has_hosts_and_no_route() {
    let whole = pod("shop", Status::Available, &[("default", plain())]);
    let broken = RoutedPod { problem: Some("its template is gone".to_owned()), ..whole.clone() };
    let mut table = table([&whole]);
    assert!(table.has_router(whole.uid));
    assert!(table.set(&broken));
    assert!(routers(&table).is_empty() && !table.has_router(whole.uid));
    assert_eq!(table.left_out()[0].reason, "its template is gone");
    assert_eq!(table.visit("shop.pods.dev.example.org"), Visit::Unroutable);
    assert!(table.gate(whole.uid, "default").is_none(), "nobody knows who may pass");
    table.set(&RoutedPod { status: Status::Stopped, live: false, ..broken });
    assert_eq!(table.visit("shop.pods.dev.example.org"), Visit::Pod(Status::Stopped));
}

#[test]
fn a_pod_has_a_router_if_the_document_leads_to_one_of_its_entries() {
    let local = || Networking { protocol: Protocol::LocalOnly, url: String::new(), ..plain() };
    let bad = || Networking { port: 0, ..plain() };
    for (entries, expected) in [
        (vec![("default", plain()), ("inside", local())], true),
        (vec![("default", bad()), ("web", plain())], true),
        (vec![("default", bad())], false),
        (vec![("inside", local())], false),
        (vec![], false),
    ] {
        let pod = pod("shop", Status::Available, &entries);
        assert_eq!(table([&pod]).has_router(pod.uid), expected, "{entries:?}");
    }
    let first = pod("aaa", Status::Available, &[("default", plain())]);
    let taken = Networking { url: first.networking["default"].url.clone(), ..plain() };
    let second = pod("bbb", Status::Available, &[("default", taken)]);
    let both = table([&first, &second]);
    assert!(both.has_router(first.uid) && !both.has_router(second.uid));
    assert!(!both.has_router(Uuid::nil()));
}
