mod domains;
mod login;
mod pieces;
mod properties;
mod shown;

use std::collections::HashSet;

use serde_json::Value;

use super::*;
use crate::{Protocol, networking::TlsMode};

fn settings() -> RoutingSettings {
    RoutingSettings::usual("http://pods-api:8000", "http://pods-edge:8010")
}

fn pod(id: &str, status: Status, entries: &[(&str, Networking)]) -> RoutedPod {
    let host = |entry: &str| crate::ids::entry_host(id, entry, "dev.example.org");
    let entry = |(name, entry): &(&str, Networking)| {
        let url = if entry.url.is_empty() { host(name) } else { entry.url.clone() };
        ((*name).to_owned(), Networking { url, ..entry.clone() })
    };
    RoutedPod {
        tenant: Tenant::new("tacc", "dev"),
        tenant_host: "dev.example.org".to_owned(),
        pod_id: id.to_owned(),
        uid: Uuid::from_u128(id.bytes().fold(7, |sum, byte| sum * 257 + u128::from(byte))),
        k8_name: format!("pods-tacc-dev-{id}"),
        status,
        live: status == Status::Available,
        networking: entries.iter().map(entry).collect(),
        problem: None,
        permissions: Arc::from([]),
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
    serde_json::from_slice(&table.render()).unwrap()
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
        let [good, shop] = &pods;
        let of = |pod: &RoutedPod| reach(&pod.k8_name, "default", &pod.networking["default"]);
        assert_eq!(of(shop), Reach::Nobody(table.left_out()[0].reason.clone()), "the owner is told the same");
        assert_eq!(of(good), Reach::Visitors);
        assert!(has_visitors(&shop.k8_name, &shop.networking), "one entry is enough");
        let alone = BTreeMap::from([("default".to_owned(), shop.networking["default"].clone())]);
        assert!(!has_visitors(&shop.k8_name, &alone), "{entry:?}");
    }
}

#[test]
fn what_is_for_the_inside_alone_has_no_visitors() {
    let local = Networking { protocol: Protocol::LocalOnly, url: String::new(), ..plain() };
    assert_eq!(reach("pods-tacc-dev-shop", "default", &local), Reach::InsideOnly);
    assert!(!has_visitors("pods-tacc-dev-shop", &[("default".to_owned(), local)].into()));
    assert!(!has_visitors("pods-tacc-dev-shop", &BTreeMap::new()));
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
    assert!(!table.set(&pod("shop", Status::Requested, &[("default", plain())])));
    assert_eq!(table.visit("shop.pods.dev.example.org"), Visit::Pod(Status::Requested));
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
        RoutingSettings { cert_resolver: Some(String::new()), ..settings() },
        RoutingSettings { cert_wildcard: true, ..settings() },
    ];
    for settings in bad {
        assert!(RoutingTable::new(settings.clone()).is_err(), "{settings:?}");
    }
}

fn document_of(pod: &RoutedPod) -> Value {
    document(&table([pod]))
}

#[test]
fn a_container_that_is_not_ready_has_no_route() {
    let ready = pod("shop", Status::Available, &[("default", plain())]);
    let unready = RoutedPod { live: false, ..ready.clone() };
    let mut table = table([&unready]);
    assert!(routers(&table).is_empty() && table.left_out().is_empty());
    assert_eq!(table.visit("shop.pods.dev.example.org"), Visit::NotReady);
    assert!(table.set(&ready));
    assert_eq!(table.visit("shop.pods.dev.example.org"), Visit::Pod(Status::Available));
    assert!(table.set(&unready));
    assert!(routers(&table).is_empty());
}

#[test]
fn postgres_ends_its_tls_where_the_user_wants_it() {
    let entry = |tls_mode| Networking { protocol: Protocol::Postgres, port: 5432, tls_mode, ..plain() };
    let through = pod("aaa", Status::Available, &[("default", entry(TlsMode::Passthrough))]);
    let ended = pod("bbb", Status::Available, &[("default", entry(TlsMode::Terminate))]);
    let document = document(&table([&through, &ended]));
    let tls = |name: &str| document["tcp"]["routers"][name]["tls"].to_string();
    assert_eq!(tls("pods-tacc-dev-aaa"), r#"{"passthrough":true}"#);
    assert_eq!(tls("pods-tacc-dev-bbb"), r#"{"options":"postgres"}"#);
    let options = &document["tls"]["options"]["postgres"];
    assert_eq!(options.to_string(), r#"{"alpnProtocols":["postgresql"]}"#);
}

#[test]
fn one_certificate_can_be_for_all_pods_of_a_tenant() {
    let settings = RoutingSettings {
        cert_resolver: Some("dns".to_owned()),
        cert_wildcard: true,
        domain_cert_resolver: Some("http".to_owned()),
        ..settings()
    };
    let mut table = RoutingTable::new(settings).unwrap();
    let own =
        Networking { custom_domain: "shop.example.com".to_owned(), custom_domain_verified: true, ..plain() };
    let tcp = Networking { protocol: Protocol::Tcp, ..plain() };
    table.set(&pod("shop", Status::Available, &[("default", own), ("bolt", tcp)]));
    let document = document(&table);
    let wildcard = serde_json::json!(
        {"certResolver": "dns", "domains": [{"main": "*.pods.dev.example.org"}]}
    );
    assert_eq!(document["http"]["routers"]["pods-tacc-dev-shop"]["tls"], wildcard);
    assert_eq!(document["tcp"]["routers"]["pods-tacc-dev-shop-bolt"]["tls"], wildcard);
    let domain = &document["http"]["routers"]["pods-tacc-dev-shop--domain"]["tls"];
    assert_eq!(*domain, serde_json::json!({"certResolver": "http"}));
}

#[test]
fn the_owner_is_told_what_the_document_leaves_out() {
    let url = || "shop.pods.dev".to_owned();
    let own = |domain: &str| Networking {
        custom_domain: domain.to_owned(),
        custom_domain_verified: true,
        url: url(),
        ..plain()
    };
    let bad = [
        Networking { url: "dev.example.org".to_owned(), ..plain() },
        Networking { port: 0, url: url(), ..plain() },
        Networking {
            tapis_auth: true,
            tapis_auth_excluded_path_regex: vec!["(?x)a".to_owned()],
            url: url(),
            ..plain()
        },
    ];
    for entry in bad {
        let reason = reach("pods-tacc-dev-shop", "default", &entry);
        let table = table([&pod("shop", Status::Available, &[("default", entry)])]);
        assert_eq!(reason, Reach::Nobody(table.left_out()[0].reason.clone()));
    }
    let odd = pod("shop", Status::Available, &[("a-b", Networking { url: url(), ..plain() })]);
    let Reach::Nobody(reason) = reach(&odd.k8_name, "a-b", &odd.networking["a-b"]) else { panic!("a-b") };
    assert_eq!(table([&odd]).left_out()[0].reason, reason);
    for domain in ["dev.example.org", "x.dev.example.org", "shop.pods", "a`b.example"] {
        let entry = own(domain);
        let reason = domain_problem("dev.example.org", &entry).unwrap();
        let table = table([&pod("shop", Status::Available, &[("default", entry)])]);
        assert_eq!(table.left_out()[0].reason, reason);
    }
    assert_eq!(reach("pods-tacc-dev-shop", "default", &own("shop.example.com")), Reach::Visitors);
    assert_eq!(domain_problem("dev.example.org", &own("shop.example.com")), None);
    let unproven = Networking { custom_domain_verified: false, ..own("dev.example.org") };
    assert_eq!(domain_problem("dev.example.org", &unproven), None, "nothing leads there yet");
}

#[test]
fn hyphens_in_tenants_and_sites_never_make_two_pods_one() {
    let tenants = [
        Tenant::new("tacc", "dev"),
        Tenant::new("tacc", "dev-shop"),
        Tenant::new("tacc-dev", "shop"),
        Tenant::new("tacc", "dev-shop-admin"),
        Tenant::new("tacc", "dev-"),
        Tenant::new("tacc-", "dev"),
    ];
    let mut all = RoutingTable::new(settings()).unwrap();
    let networks = ["default", "admin", "shop", "login", "noauth", "domain"];
    let mut count = 0_u32;
    for (place, tenant) in tenants.iter().enumerate() {
        for id in ["shop", "admin", "login", "noauth", "domain"] {
            count += 1;
            let uid = Uuid::from_u128((0xdead_0000 + u128::from(count)) << 96);
            let host = format!("tenant{place}.example.org");
            let entry = |network: &&str| {
                let entry = Networking {
                    url: crate::ids::entry_host(id, network, &host),
                    tapis_auth: true,
                    tapis_auth_excluded_paths: vec!["/open".to_owned()],
                    ..plain()
                };
                ((*network).to_owned(), entry)
            };
            all.set(&RoutedPod {
                k8_name: crate::ids::k8_name(tenant, id, uid),
                tenant: tenant.clone(),
                tenant_host: host.clone(),
                uid,
                networking: networks.iter().map(entry).collect(),
                ..pod(id, Status::Available, &[])
            });
        }
    }
    assert_eq!(all.left_out(), []);
    let expected = tenants.len() * 5 * networks.len() * 3;
    assert_eq!(routers(&all).len(), expected, "each entry has its three routers");
}
