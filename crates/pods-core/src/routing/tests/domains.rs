//! Domains of the users' own.

use super::*;

fn at(domain: &str) -> Networking {
    Networking { custom_domain: domain.to_owned(), custom_domain_verified: true, ..plain() }
}

#[test]
fn a_proven_domain_has_routers_of_its_own() {
    let unproven = Networking { custom_domain_verified: false, ..at("shop.example.com") };
    let before = pod("shop", Status::Available, &[("default", unproven)]);
    let proven = pod("shop", Status::Available, &[("default", at("shop.example.com"))]);
    let mut table = table([&before]);
    assert_eq!(routers(&table), ["pods-tacc-dev-shop"]);
    assert_eq!(table.visit("shop.example.com"), Visit::Unknown);
    assert!(table.gate_of_host("shop.example.com").is_none());
    let own = document(&table)["http"]["routers"]["pods-tacc-dev-shop"].clone();

    assert!(table.set(&proven));
    let document = document(&table);
    assert_eq!(document["http"]["routers"]["pods-tacc-dev-shop"], own, "the pod's own host stays as it is");
    let names = ["", "--domain", "--domain--page", "--domain--page-tls"];
    assert_eq!(routers(&table), names.map(|suffix| format!("pods-tacc-dev-shop{suffix}")));
    let router = &document["http"]["routers"]["pods-tacc-dev-shop--domain"];
    assert_eq!((&router["rule"], &router["service"]), (&"Host(`shop.example.com`)".into(), &own["service"]));
    assert_eq!(table.visit("shop.example.com"), Visit::Pod(Status::Available));
    assert!(table.is_web_host("shop.example.com"));
    assert_eq!(table.gate_of_host("shop.example.com"), table.gate_of_host("shop.pods.dev.example.org"));
}

#[test]
fn a_domain_has_its_own_login() {
    let entry = Networking {
        tapis_auth: true,
        tapis_auth_excluded_paths: vec!["/open".to_owned()],
        ..at("shop.example.com")
    };
    let table = table([&pod("shop", Status::Available, &[("default", entry)])]);
    let suffixes: Vec<String> =
        routers(&table).iter().map(|name| name.replace("pods-tacc-dev-shop", "")).collect();
    assert_eq!(
        suffixes,
        [
            "",
            "--domain",
            "--domain--login",
            "--domain--noauth",
            "--domain--page",
            "--domain--page-tls",
            "--login",
            "--noauth"
        ]
    );
}

#[test]
fn nothing_but_the_pod_and_its_pages_answers_at_a_domain() {
    let mut table = table([]);
    let without = document(&table);
    assert!(table.set(&pod("shop", Status::Stopped, &[("default", at("shop.example.com"))])));
    let stopped = document(&table);
    let routers = &stopped["http"]["routers"];
    for (name, entry_point) in [("page", "web"), ("page-tls", "websecure")] {
        let router = &routers[format!("pods-tacc-dev-shop--domain--{name}")];
        assert_eq!(
            (&router["rule"], &router["service"]),
            (&"Host(`shop.example.com`)".into(), &"edge".into())
        );
        assert_eq!(router["entryPoints"][0], entry_point);
        assert_eq!(router["middlewares"], routers["catch-all"]["middlewares"]);
        assert!(router["priority"].as_u64() > routers["api"]["priority"].as_u64(), "{router}");
        assert_eq!(router["tls"].is_null(), name == "page");
    }
    // Starting and stopping changes nothing about them.
    let running = pod("shop", Status::Available, &[("default", at("shop.example.com"))]);
    assert!(table.set(&running));
    let router = &document(&table)["http"]["routers"];
    assert_eq!(
        router["pods-tacc-dev-shop--domain--page-tls"],
        routers["pods-tacc-dev-shop--domain--page-tls"]
    );
    let main = router["pods-tacc-dev-shop--domain"]["priority"].as_u64();
    assert!(main > router["pods-tacc-dev-shop--domain--page-tls"]["priority"].as_u64());
    assert!(table.set(&pod("shop", Status::Stopped, &[("default", at("other.example.com"))])));
    assert_eq!(table.visit("shop.example.com"), Visit::Unknown);
    let moved = document(&table)["http"]["routers"]["pods-tacc-dev-shop--domain--page"]["rule"].clone();
    assert_eq!(moved, "Host(`other.example.com`)");
    assert!(table.set(&pod("shop", Status::Stopped, &[("default", plain())])));
    assert_eq!(document(&table), without);
}

#[test]
fn a_domain_leads_to_one_pod_and_takes_nothing_from_others() {
    let first = pod("aaa", Status::Available, &[("default", at("shop.example.com"))]);
    let second = pod("bbb", Status::Available, &[("default", at("shop.example.com"))]);
    let mut table = table([&second]);
    let alone = document(&table);
    table.set(&first);
    let of_first = ["", "--domain", "--domain--page", "--domain--page-tls"];
    let expected = of_first.map(|suffix| format!("pods-tacc-dev-aaa{suffix}"));
    assert_eq!(routers(&table), [&expected[..], &["pods-tacc-dev-bbb".to_owned()]].concat());
    assert_eq!(table.left_out().len(), 1);
    assert!(table.left_out()[0].reason.contains("another pod"), "{:?}", table.left_out());
    assert!(table.remove(first.uid));
    assert_eq!(document(&table), alone, "the domain goes to who waits for it");
    assert_eq!(table.left_out(), []);

    let host = pod("ccc", Status::Stopped, &[("default", plain())]);
    let thief = at(&host.networking["default"].url);
    table.set(&pod("aaa", Status::Available, &[("default", thief)]));
    table.set(&host);
    assert_eq!(table.visit(&host.networking["default"].url), Visit::Pod(Status::Stopped));
}

#[test]
fn names_of_the_service_are_nobodys_domain() {
    for domain in [
        "dev.example.org",
        "x.dev.example.org",
        "fern.pods.dev.example.org",
        "shop.pods",
        "pods.example.com",
        "localhost",
        "127.0.0.1",
        "Shop.example.com",
        "a`b.example",
    ] {
        let table = table([&pod("shop", Status::Available, &[("default", at(domain))])]);
        assert_eq!(routers(&table), ["pods-tacc-dev-shop"], "{domain}");
        assert_eq!(table.left_out().len(), 1, "{domain}");
        assert_eq!(table.visit(domain), Visit::Unknown, "{domain}");
    }
    assert_eq!(
        routers(&table([&pod("shop", Status::Available, &[("default", at("xdev.example.org"))])])).len(),
        4
    );
}

#[test]
fn only_http_has_domains() {
    let tcp = Networking { protocol: Protocol::Tcp, ..at("shop.example.com") };
    let table = table([&pod("shop", Status::Available, &[("default", tcp)])]);
    assert_eq!(routers(&table), ["pods-tacc-dev-shop"]);
    assert_eq!(table.visit("shop.example.com"), Visit::Unknown);
}
