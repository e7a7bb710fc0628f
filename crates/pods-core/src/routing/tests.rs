use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::Protocol;

fn settings() -> RoutingSettings {
    RoutingSettings {
        namespace: "pods".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        api_url: "http://pods-api:8000".to_owned(),
        edge_url: "http://pods-edge:8010".to_owned(),
        entry_point_http: "web".to_owned(),
        entry_point_https: "websecure".to_owned(),
        cert_resolver: None,
    }
}

fn pod(id: &str, status: Status, entries: &[(&str, Networking)]) -> RoutedPod {
    let host = |entry: &str| crate::ids::entry_host(id, entry, "dev.example.org");
    let entry = |(name, entry): &(&str, Networking)| {
        let url = if entry.url.is_empty() { host(name) } else { entry.url.clone() };
        ((*name).to_owned(), Networking { url, ..entry.clone() })
    };
    RoutedPod {
        tenant: Tenant::new("tacc", "dev"),
        pod_id: id.to_owned(),
        uid: Uuid::from_u128(id.bytes().fold(7, |sum, byte| sum * 257 + u128::from(byte))),
        k8_name: format!("pods-tacc-dev-{id}"),
        status,
        networking: entries.iter().map(entry).collect(),
    }
}

fn plain() -> Networking {
    Networking { proxy_compression: false, ..Networking::default() }
}

fn table<'a>(pods: impl IntoIterator<Item = &'a RoutedPod>) -> RoutingTable {
    let mut table = RoutingTable::new(settings()).unwrap();
    for pod in pods {
        table.set(pod);
    }
    table
}

fn document(table: &RoutingTable) -> Value {
    serde_json::from_slice(&table.render().unwrap()).unwrap()
}

fn routers(table: &RoutingTable) -> Vec<String> {
    let document = document(table);
    let sections = [&document["http"], &document["tcp"]];
    let maps = sections.iter().filter_map(|section| section["routers"].as_object());
    maps.flat_map(|map| map.keys().cloned()).filter(|name| name.starts_with("pods-")).collect()
}

#[test]
fn a_site_without_pods_has_the_api_and_the_catch_all() {
    insta::assert_json_snapshot!(document(&table([])));
}

#[test]
fn running_pods_have_routes() {
    let full = Networking {
        port: 8080,
        ip_allow_list: vec!["10.1.0.0/16".to_owned()],
        cors_allow_origins: vec!["https://app.example".to_owned()],
        cors_allow_methods: vec!["GET".to_owned()],
        proxy_compression_excluded_content_types: vec!["image/png".to_owned(), "no type".to_owned()],
        ..Networking::default()
    };
    let tcp = Networking {
        protocol: Protocol::Tcp,
        port: 27017,
        ip_allow_list: full.ip_allow_list.clone(),
        ..plain()
    };
    let postgres = Networking { protocol: Protocol::Postgres, port: 5432, ..plain() };
    let local = Networking { protocol: Protocol::LocalOnly, port: 9000, ..plain() };
    let pods = [
        pod("fern", Status::Stopped, &[("default", plain())]),
        pod("moss", Status::Available, &[("default", postgres), ("internal", local)]),
        pod("orchid", Status::Available, &[("default", full), ("admin", plain())]),
        pod("reed", Status::Available, &[("default", tcp)]),
    ];
    insta::assert_json_snapshot!(document(&table(&pods)));
}

#[test]
fn a_certificate_resolver_is_named_where_traefik_terminates_tls() {
    let settings = RoutingSettings { cert_resolver: Some("letsencrypt".to_owned()), ..settings() };
    let mut table = RoutingTable::new(settings).unwrap();
    let postgres = Networking { protocol: Protocol::Postgres, port: 5432, ..plain() };
    table.set(&pod("shop", Status::Available, &[("default", plain()), ("db", postgres)]));
    let document = document(&table);
    let tls = |section: &str, name: &str| document[section]["routers"][name]["tls"].to_string();
    assert_eq!(tls("http", "pods-tacc-dev-shop"), r#"{"certResolver":"letsencrypt"}"#);
    assert_eq!(tls("tcp", "pods-tacc-dev-shop-db"), r#"{"passthrough":true}"#);
    assert_eq!(tls("http", "catch-all-tls"), "{}");
}

#[test]
fn identical_middlewares_are_shared() {
    let entry = Networking::default();
    let other = Networking { proxy_compression_min_response_body_bytes: 0, ..Networking::default() };
    let pods = [
        pod("aaa", Status::Available, &[("default", entry.clone())]),
        pod("bbb", Status::Available, &[("default", entry)]),
        pod("ccc", Status::Available, &[("default", other)]),
    ];
    let document = document(&table(&pods));
    let names: Vec<_> = document["http"]["middlewares"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("compress-")).count(), 2, "{names:?}");
}

#[test]
fn entries_with_a_login_are_never_open() {
    let entry = Networking { tapis_auth: true, ..plain() };
    let table = table([&pod("shop", Status::Available, &[("default", entry)])]);
    assert!(routers(&table).is_empty());
    assert!(table.left_out()[0].reason.contains("log in"), "{:?}", table.left_out());
    assert_eq!(table.visit("shop.pods.dev.example.org"), Visit::LoginMissing);
    assert!(table.is_web_host("shop.pods.dev.example.org"));
}

#[test]
fn a_visitor_sees_where_the_pod_is() {
    let tcp = Networking { protocol: Protocol::Tcp, port: 27017, ..plain() };
    let local = Networking { protocol: Protocol::LocalOnly, port: 9000, ..plain() };
    for status in Status::ALL {
        let table = table([&pod("shop", *status, &[("default", plain()), ("inside", local.clone())])]);
        assert_eq!(table.visit("shop.pods.dev.example.org"), Visit::Pod(*status));
        assert_eq!(table.visit("shop-inside.pods.dev.example.org"), Visit::Unknown);
        assert_eq!(routers(&table).len(), usize::from(*status == Status::Available));
    }
    let table = table([&pod("shop", Status::Available, &[("default", tcp)])]);
    assert_eq!(table.visit("shop.pods.dev.example.org"), Visit::NotWeb);
    assert!(!table.is_web_host("shop.pods.dev.example.org"));
    assert_eq!(table.visit("fern.pods.dev.example.org"), Visit::Unknown);
}

#[test]
fn what_cannot_be_routed_is_left_out_alone() {
    let bad = [
        Networking { url: "shop.pods.dev`) || Host(`x".to_owned(), ..plain() },
        Networking { url: "dev.example.org".to_owned(), ..plain() },
        Networking { url: "shop.pods".to_owned(), ..plain() },
        Networking { port: 0, ..plain() },
        Networking { port: 70_000, ..plain() },
        Networking { ip_allow_list: vec!["10.0.0.0/8".to_owned(), "*".to_owned()], ..plain() },
    ];
    for entry in bad {
        let pods = [
            pod("good", Status::Available, &[("default", plain())]),
            pod("shop", Status::Available, &[("admin", plain()), ("default", entry.clone())]),
        ];
        let table = table(&pods);
        assert_eq!(routers(&table), ["pods-tacc-dev-good", "pods-tacc-dev-shop-admin"], "{entry:?}");
        assert_eq!(table.left_out().len(), 1);
        assert_eq!(table.visit(&pods[1].networking["default"].url), Visit::Unroutable);
    }
}

#[test]
fn a_pod_cannot_take_the_name_of_the_services_own_routes() {
    let pod =
        RoutedPod { k8_name: "api".to_owned(), ..pod("shop", Status::Available, &[("default", plain())]) };
    let table = table([&pod]);
    assert!(table.left_out()[0].reason.contains("does not start with"));
    assert_eq!(document(&table), document(&super::tests::table([])));
}

#[test]
fn a_host_belongs_to_one_pod() {
    let first = pod("aaa", Status::Available, &[("default", plain())]);
    let url = first.networking["default"].url.clone();
    let second = pod("bbb", Status::Available, &[("default", Networking { url: url.clone(), ..plain() })]);
    let mut both = table([&second, &first]);
    assert_eq!(routers(&both), ["pods-tacc-dev-aaa"]);
    assert!(both.left_out()[0].reason.contains("same host"));
    assert!(both.remove(first.uid));
    assert_eq!(routers(&both), ["pods-tacc-dev-bbb"]);
    let twin =
        RoutedPod { uid: Uuid::from_u128(1), ..pod("bbb", Status::Available, &[("default", plain())]) };
    both.set(&twin);
    assert_eq!(routers(&both), ["pods-tacc-dev-bbb"]);
    assert!(both.left_out()[0].reason.contains("same Kubernetes name"), "{:?}", both.left_out());
    assert_eq!(both.visit(&url), Visit::Unroutable);
}

#[test]
fn changes_that_do_not_touch_a_route_are_told_apart() {
    let mut table = table([]);
    assert!(table.set(&pod("shop", Status::Requested, &[("default", plain())])));
    assert!(!table.set(&pod("shop", Status::Spawning, &[("default", plain())])));
    let running = pod("shop", Status::Available, &[("default", plain())]);
    assert!(table.set(&running));
    assert!(!table.set(&running));
    assert!(table.set(&pod("shop", Status::Available, &[("default", Networking { port: 81, ..plain() })])));
    table.retain(&HashSet::from([running.uid]));
    assert_eq!(routers(&table).len(), 1);
    table.retain(&HashSet::new());
    assert!(!table.remove(running.uid));
    assert_eq!(table.visit("shop.pods.dev.example.org"), Visit::Unknown);
}

#[test]
fn settings_that_would_spoil_every_document_are_refused() {
    let bad = [
        RoutingSettings { namespace: "a.b".to_owned(), ..settings() },
        RoutingSettings { cluster_domain: String::new(), ..settings() },
        RoutingSettings { api_url: "pods-api:8000".to_owned(), ..settings() },
        RoutingSettings { edge_url: "http://a b".to_owned(), ..settings() },
        RoutingSettings { entry_point_http: String::new(), ..settings() },
    ];
    for settings in bad {
        assert!(RoutingTable::new(settings.clone()).is_err(), "{settings:?}");
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,20}", "[a-z`()|& \\\\\n\"]{0,20}", "[a-z]{1,8}\\.pods\\.dev", Just(String::new())]
}

fn any_entry() -> impl Strategy<Value = Networking> {
    let texts = || proptest::collection::vec(any_text(), 0..3);
    let protocol = proptest::sample::select(Protocol::ALL);
    let access = (any_text(), any::<i32>(), texts(), proptest::bool::weighted(0.1));
    (protocol, access, texts(), texts(), texts(), any::<i32>()).prop_map(
        |(protocol, (url, port, ip_allow_list, tapis_auth), origins, headers, types, number)| Networking {
            protocol,
            port: if number % 2 == 0 { port } else { 80 },
            url,
            ip_allow_list: if number % 4 == 0 { ip_allow_list } else { Vec::new() },
            tapis_auth,
            cors_allow_origins: origins,
            cors_allow_headers: headers.clone(),
            cors_allow_methods: headers,
            cors_max_age: number,
            proxy_compression_excluded_content_types: types,
            proxy_compression_min_response_body_bytes: number,
            ..Networking::default()
        },
    )
}

fn any_pod() -> impl Strategy<Value = RoutedPod> {
    let status = proptest::sample::select(Status::ALL);
    let name = prop_oneof![9 => "pods-tacc-dev-[a-d]{1,2}", 1 => any_text()];
    let entries = proptest::collection::btree_map(any_text(), any_entry(), 0..3);
    (0..40_u128, name, status, entries).prop_map(|(uid, k8_name, status, networking)| RoutedPod {
        tenant: Tenant::new("tacc", "dev"),
        pod_id: String::new(),
        uid: Uuid::from_u128(uid),
        k8_name,
        status,
        networking,
    })
}

proptest! {
    #[test]
    fn any_pods_give_a_document_that_depends_on_nothing_else(
        pods in proptest::collection::vec(any_pod(), 0..12),
        order in any::<prop::sample::Index>(),
    ) {
        let good = pod("good", Status::Available, &[("default", plain())]);
        let mut last: BTreeMap<Uuid, &RoutedPod> = pods.iter().map(|pod| (pod.uid, pod)).collect();
        last.insert(good.uid, &good);
        let mut shuffled: Vec<&RoutedPod> = last.values().copied().collect();
        let pivot = order.index(shuffled.len());
        shuffled.rotate_left(pivot);
        // One with a history, one fresh.
        let mut first = table(&pods);
        first.set(&good);
        let second = table(shuffled);
        prop_assert_eq!(first.render().unwrap(), second.render().unwrap());

        let document = document(&first);
        let alone = document_of(&good);
        let name = good.k8_name.as_str();
        prop_assert_eq!(&document["http"]["routers"][name], &alone["http"]["routers"][name]);
        let rule = regex::Regex::new("^Host(SNI)?\\(`[a-z0-9-]+\\.pods\\.[a-z0-9.-]+`\\)$").unwrap();
        for section in ["http", "tcp"] {
            let Some(routers) = document[section]["routers"].as_object() else { continue };
            for (name, router) in routers {
                let text = router["rule"].as_str().unwrap();
                let own = ["api", "api-tls", "catch-all", "catch-all-tls"].contains(&name.as_str());
                prop_assert!(own || rule.is_match(text), "{}", text);
                prop_assert!(document[section]["services"].get(router["service"].as_str().unwrap()).is_some());
                for middleware in router["middlewares"].as_array().into_iter().flatten() {
                    prop_assert!(document[section]["middlewares"].get(middleware.as_str().unwrap()).is_some());
                }
            }
        }
    }

    #[test]
    fn what_set_calls_unchanged_is_unchanged(pods in proptest::collection::vec(any_pod(), 0..20)) {
        let mut table = table([]);
        let mut before = table.render().unwrap();
        for pod in &pods {
            let changed = table.set(pod);
            let after = table.render().unwrap();
            prop_assert!(changed || after == before);
            before = after;
        }
        for uid in pods.iter().map(|pod| pod.uid).collect::<HashSet<_>>() {
            table.remove(uid);
        }
        prop_assert_eq!(table.render().unwrap(), RoutingTable::new(settings()).unwrap().render().unwrap());
    }
}

fn document_of(pod: &RoutedPod) -> Value {
    document(&table([pod]))
}
