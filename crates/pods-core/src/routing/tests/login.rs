//! Entries whose visitors must log in.

use super::*;

fn guarded() -> Networking {
    Networking {
        tapis_auth: true,
        ip_allow_list: vec!["10.1.0.0/16".to_owned()],
        cors_allow_origins: vec!["https://app.example".to_owned()],
        tapis_auth_response_headers: [("X-Tapis-Username", "<<tapisusername>>"), ("Who_Is+it", "x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Networking::default()
    }
}

#[test]
fn a_login_has_routers_of_its_own() {
    let excluded = Networking {
        tapis_auth_excluded_paths: vec!["/assets".to_owned()],
        tapis_auth_excluded_path_regex: vec![r"\.(js|css)$".to_owned()],
        ..guarded()
    };
    insta::assert_json_snapshot!(document_of(&pod("shop", Status::Available, &[("default", excluded)])));
}

#[test]
fn every_path_that_leads_to_the_pod_asks_the_edge() {
    let names = |entry: Networking| {
        let document = document_of(&pod("shop", Status::Available, &[("default", entry)]));
        let routers = document["http"]["routers"].as_object().unwrap().clone();
        let of_pod = routers.into_iter().filter(|(_, router)| router["service"] == "pods-tacc-dev-shop");
        of_pod.map(|(name, router)| (name, router["middlewares"].to_string())).collect::<Vec<_>>()
    };
    let closed = names(guarded());
    assert_eq!(closed.len(), 1);
    assert!(closed[0].1.contains("\"auth-pods-tacc-dev-shop\""), "{closed:?}");
    let open = names(Networking { tapis_auth_excluded_paths: vec!["/".to_owned()], ..guarded() });
    assert_eq!(open.len(), 2);
    assert!(open[1].1.contains("\"auth-open-pods-tacc-dev-shop\""), "{open:?}");
}

#[test]
fn what_only_the_edge_may_tell_is_taken_from_visitors() {
    let document = document_of(&pod("shop", Status::Available, &[("default", guarded())]));
    let auth = &document["http"]["middlewares"]["auth-pods-tacc-dev-shop"]["forwardAuth"];
    let pattern = regex::Regex::new(auth["authResponseHeadersRegex"].as_str().unwrap()).unwrap();
    for taken in [
        "X-Tapis-Token",
        "X_tapis_token",
        "X-Tapis-User",
        "x_tapis-TENANT",
        "X-Tapis-Username",
        "Who-Is+It",
        "who_is+it",
        "X_Forwarded_For",
        "X-Forwarded_Host",
        "X_Real_Ip",
        // Other separators that programs in the manner of CGI cannot tell from a hyphen.
        "X.Tapis.Username",
        "X~Tapis!Username",
        "x*tapis|token",
        "Who-Is-It",
        "Who.Is~It",
        "X.Forwarded.For",
        "X-Forwarded.For",
        "X.Real-Ip",
        "X-Real.Ip",
        // What other programs than Traefik write, and applications believe.
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Prefix",
        "X-Forwarded-F",
        "X-Forwarded-Fort",
        "X-Forwarded-Hosts",
        "X-Forwarded-Pro",
        "X-Forwarded-",
        "Forwarded",
        "X-Original-URL",
        "X-Rewrite-Url",
        "x_original_uri",
        "HTTP2-Settings",
    ] {
        assert!(pattern.is_match(taken), "{taken}");
    }
    for left in [
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-FORWARDED-PORT",
        "X-Forwarded-Proto",
        "X-Forwarded-Server",
        "X-Real-Ip",
        "Authorization",
        "Who-Is",
        "My-X-Tapis-User",
        "X-Forwardedby",
        "Forwarded-For",
    ] {
        assert!(!pattern.is_match(left), "{left}");
    }
    assert_eq!(auth["trustForwardHeader"], false);
    assert_eq!(
        auth["authResponseHeaders"],
        serde_json::json!(["Cookie", "X-Tapis-Token", "Who_Is+it", "X-Tapis-Username"])
    );
}

#[test]
fn headers_of_the_connection_are_never_taken_over() {
    let names =
        ["connection", "Cookie", "Transfer_Encoding", "X-Forwarded-For", "x.forwarded~for", "a b", "Fine"];
    let headers = names.map(|name| (name.to_owned(), String::new())).into();
    let entry = Networking { tapis_auth_response_headers: headers, ..guarded() };
    let document = document_of(&pod("shop", Status::Available, &[("default", entry)]));
    let auth = &document["http"]["middlewares"]["auth-pods-tacc-dev-shop"]["forwardAuth"];
    assert_eq!(auth["authResponseHeaders"], serde_json::json!(["Cookie", "X-Tapis-Token", "Fine"]));
}

#[test]
fn an_excluded_path_frees_itself_and_what_is_below_it() {
    let entry = |paths: &[&str]| Networking {
        tapis_auth_excluded_paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..guarded()
    };
    let rule = |paths: &[&str]| {
        let document = document_of(&pod("shop", Status::Available, &[("default", entry(paths))]));
        let rule = document["http"]["routers"]["pods-tacc-dev-shop--noauth"]["rule"].as_str().unwrap();
        rule.split(" && ").nth(1).unwrap().to_owned()
    };
    assert_eq!(rule(&["/open"]), "(Path(`/open`) || PathPrefix(`/open/`))");
    assert_eq!(rule(&["/open/", "/a"]), "(PathPrefix(`/open/`) || Path(`/a`) || PathPrefix(`/a/`))");
    assert_eq!(rule(&["/"]), "(PathPrefix(`/`))");
}

#[test]
fn gates_are_known_of_all_http_entries() {
    let tcp = Networking { protocol: Protocol::Tcp, ..plain() };
    let shop = pod("shop", Status::Stopped, &[("default", guarded()), ("open", plain()), ("bolt", tcp)]);
    let mut table = table([&shop]);
    let gate = table.gate(shop.uid, "default").unwrap();
    assert!(gate.tapis_auth() && gate.uid() == shop.uid);
    assert!(!table.gate(shop.uid, "open").unwrap().tapis_auth());
    assert!(table.gate(shop.uid, "bolt").is_none());
    assert!(table.gate(Uuid::nil(), "default").is_none());
    assert_eq!(table.gate_of_host("shop.pods.dev.example.org").unwrap(), gate);
    assert!(table.gate_of_host("fern.pods.dev.example.org").is_none());
    assert_eq!(table.hosts_of(shop.uid).len(), 2);
    let shared = RoutedPod { permissions: Arc::from([("bob".to_owned(), Level::Read)]), ..shop.clone() };
    assert!(!table.set(&shared), "permissions are not in the document");
    assert_ne!(table.gate(shop.uid, "default").unwrap(), gate, "and are in the gate");
    table.remove(shop.uid);
    assert!(table.gate(shop.uid, "default").is_none());
}
