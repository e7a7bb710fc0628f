use serde_json::{Value, json};

use super::*;
use crate::{
    input::Violations,
    reason::{Reason, StatusContainer},
};

fn problems(entry: Value) -> Vec<String> {
    let mut violations = Violations::default();
    read(&["body", "networking"], json!({"default": entry}), &mut violations);
    violations.0
}

#[test]
fn missing_fields_are_filled_in() {
    let mut violations = Violations::default();
    let body = json!({"default": {"protocol": "HTTP", "port": "8080"}});
    let entries = read(&["body", "networking"], body, &mut violations);
    assert!(violations.0.is_empty());
    let expected = Networking { port: 8080, ..Networking::default() };
    assert_eq!(entries["default"], expected);
    let again = serde_json::to_value(&entries).unwrap();
    assert_eq!(read(&["body", "networking"], again, &mut violations), entries);
    assert!(violations.0.is_empty(), "an answer can be sent back: {violations:?}");
}

#[test]
fn a_name_that_clients_cannot_read_is_refused() {
    let mut violations = Violations::default();
    read(&["body", "networking"], json!({"self": {}, "other": {}}), &mut violations);
    assert!(
        violations.0.len() == 1 && violations.0[0].starts_with("body, networking, self"),
        "{violations:?}"
    );
}

#[test]
fn each_bad_value_is_named() {
    let cases = [
        (json!({"port": 7}), "Got port: 7"),
        (json!({"port": 70000}), "between 10 and 65535"),
        (json!({"protocol": "udp"}), "networking.protocol"),
        (json!({"ip_allow_list": ["*"]}), "no IP address"),
        (json!({"ip_allow_list": ["10.0.0.0/33"]}), "no IP address"),
        (json!({"tapis_auth": true, "protocol": "tcp"}), "only possible with protocol http"),
        (json!({"tapis_auth_allowed_users": []}), "must name somebody"),
        (json!({"tapis_auth_return_path": "x"}), "must start with /"),
        (json!({"tapis_auth_return_path": "//evil.example/x"}), "must not start with //"),
        (json!({"tapis_auth_return_path": "/.well-known/tapis-pods/login"}), "not be below /.well-known"),
        (json!({"tapis_auth_excluded_path_regex": ["("]}), "regular expression"),
        (json!({"tapis_auth_excluded_paths": ["/a`b"]}), "backticks"),
        (json!({"tapis_auth_response_headers": {"a b": "x"}}), "no HTTP header name"),
        (json!({"tapis_auth_response_headers": {"X-A": "x\r\ny"}}), "one line"),
        (json!({"tapis_auth_response_headers": {"X_Tapis_Token": "x"}}), "cannot be set"),
        (json!({"tapis_auth_response_headers": {"Transfer-Encoding": "x"}}), "cannot be set"),
        (json!({"tapis_auth_response_headers": {"x-forwarded-for": "x"}}), "cannot be set"),
        (json!({"tapis_auth_response_headers": {"X~Tapis!Token": "x"}}), "cannot be set"),
        (json!({"tapis_auth_response_headers": {"X.Forwarded.For": "x"}}), "cannot be set"),
        (json!({"tapis_auth_response_headers": {"HTTP2-Settings": "x"}}), "cannot be set"),
        (json!({"tapis_auth_excluded_path_regex": ["[a[b]]"]}), "a class stands within a class"),
        (json!({"tapis_auth_excluded_path_regex": [""]}), "it is empty"),
        (json!({"tls_mode": "terminate"}), "only possible with protocol postgres"),
        (json!({"tls_mode": "none", "protocol": "postgres"}), "passthrough or terminate"),
        (json!({"custom_domain": "shop.example.org", "protocol": "tcp"}), "only possible with protocol http"),
        (json!({"cors_allow_origins": ["https://x"], "protocol": "tcp"}), "only possible with protocol http"),
        (
            json!({"cors_allow_origins": ["https://a.example, https://b.example"]}),
            "\"https://a.example, https",
        ),
        (json!({"cors_allow_origins": ["*", "app.example"]}), "\"app.example\" is no origin"),
        (json!({"cors_allow_methods": ["GET", "PUT POST"]}), "\"PUT POST\" is no method"),
        (json!({"cors_allow_headers": ["bad header"]}), "\"bad header\" is no name of an HTTP header"),
        (json!({"cors_max_age": 101}), "between 0 and 100"),
        (
            json!({"proxy_compression_excluded_content_types": ["text/html; charset=utf-8"]}),
            "\"text/html; charset=utf-8\" is no content type",
        ),
        (
            json!({"proxy_compression_excluded_content_types": ["nonsense"]}),
            "\"nonsense\" is no content type",
        ),
        (json!({"tapis_ui_uri": "lab"}), "a path like /lab"),
        (json!({"proxy_compression_encodings": ["gzip", "gzip"]}), "each once"),
        (json!({"bogus": 1}), "Extra inputs are not permitted"),
        (json!(null), "expected a JSON object"),
    ];
    for (entry, expected) in cases {
        let found = problems(entry.clone());
        assert!(found.iter().any(|line| line.contains(expected)), "{entry}: {found:?}");
        assert!(found[0].starts_with("body, networking, default"), "{found:?}");
    }
}

#[test]
fn entries_may_share_a_port_and_are_few() {
    let mut violations = Violations::default();
    let entry = json!({"port": 8080});
    read(&["body", "networking"], json!({"aaa": entry, "bbb": entry}), &mut violations);
    assert!(violations.0.is_empty(), "{violations:?}");
    let body = json!({"aaa": entry, "bbb": entry, "ccc": entry, "ddd": entry, "eee": entry});
    read(&["body", "networking"], body, &mut violations);
    read(&["body", "networking"], json!({"A": entry}), &mut violations);
    for expected in ["at most 4 entries", "3 to 64 lower-case"] {
        assert!(violations.0.iter().any(|line| line.contains(expected)), "{expected}: {violations:?}");
    }
}

#[test]
fn domains_are_stored_lower_case_and_verified_by_the_service_only() {
    let body = json!({"default": {"custom_domain": "Shop.Example.org", "custom_domain_verified": true,
        "cert_ready": true, "cert_state": "issued"}});
    let mut violations = Violations::default();
    let entries = read(&["body", "networking"], body.clone(), &mut violations);
    assert!(violations.0.is_empty(), "{violations:?}");
    assert_eq!(entries["default"].custom_domain, "shop.example.org");
    assert!(!entries["default"].custom_domain_verified);
    read_template(&["body", "networking"], body, &mut violations);
    assert!(violations.0[0].contains("a template cannot name"), "{violations:?}");
    for bad in [
        "example",
        "a..b",
        "-a.org",
        "https://a.org",
        "a.org:80",
        "pods.org",
        "x.PODS.y.org",
        "shop.pods",
        "10.0.0.1",
    ] {
        assert_eq!(problems(json!({"custom_domain": bad})).len(), 1, "{bad}");
    }
    for good in ["", "mypods.org", "x.pods1.org"] {
        assert!(problems(json!({"custom_domain": good})).is_empty(), "{good}");
    }
}

#[test]
fn origins_are_those_that_browsers_send() {
    let good = [
        "*",
        "null",
        "https://app.example",
        "http://localhost:3000",
        "http://127.0.0.1:80",
        "https://[2001:db8::1]",
        "https://[::1]:8443",
        "chrome-extension://abcdef",
        "https://my_app.example",
    ];
    assert_eq!(problems(json!({"cors_allow_origins": good})), Vec::<String>::new());
    for bad in [
        "",
        "https://",
        "://a",
        "https://a/",
        "https://a/b",
        "https://a?b",
        "https://a b",
        "https://A.example",
        "HTTPS://a",
        "https://*.example",
        "https://a:",
        "https://a:+1",
        "https://a:70000",
        "https://[::1",
        "https://[x]",
        "https://u@a",
    ] {
        let found = problems(json!({"cors_allow_origins": [bad]}));
        assert!(found.len() == 1 && found[0].contains("is no origin"), "{bad}: {found:?}");
    }
}

#[test]
fn what_only_http_can_have_is_silently_off_elsewhere() {
    let mut violations = Violations::default();
    let body = json!({"default": {"protocol": "tcp", "tapis_auth_excluded_paths": ["/x"],
        "tapis_auth_excluded_path_regex": ["^/x"], "proxy_compression": true}});
    let entries = read(&["body", "networking"], body, &mut violations);
    let entry = &entries["default"];
    assert!(violations.0.is_empty() && !entry.proxy_compression);
    assert!(entry.tapis_auth_excluded_paths.is_empty() && entry.tapis_auth_excluded_path_regex.is_empty());
}

#[test]
fn networks_are_real_addresses() {
    for good in ["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"] {
        assert!(is_network(good), "{good}");
    }
    for bad in ["", "*", "10.0.0.0/", "10.0.0.0/+8", "300.1.1.1", "::1/129", "10.0.0.0/8/8", "10.0.0.0/08"] {
        assert!(!is_network(bad), "{bad}");
    }
}

#[test]
fn postgres_may_leave_its_tls_to_the_proxy() {
    let mut violations = Violations::default();
    let body =
        json!({"aaa": {"protocol": "postgres", "tls_mode": "Terminate"}, "bbb": {"tls_mode": "passthrough"}});
    let entries = read(&["body", "networking"], body, &mut violations);
    assert!(violations.0.is_empty(), "{violations:?}");
    assert_eq!(
        (entries["aaa"].tls_mode, entries["bbb"].tls_mode),
        (TlsMode::Terminate, TlsMode::Passthrough)
    );
    let stored: Networking = serde_json::from_value(json!({"protocol": "postgres"})).unwrap();
    assert_eq!(stored.tls_mode, TlsMode::Passthrough, "rows from before have no such field");
}

#[test]
fn a_domain_leads_to_one_entry_and_leaves_room_for_its_record() {
    let mut violations = Violations::default();
    let entry = json!({"custom_domain": "shop.example.org"});
    read(&["body", "networking"], json!({"aaa": entry, "bbb": entry}), &mut violations);
    assert!(
        violations.0.len() == 1 && violations.0[0].contains("bbb: Value error, another entry"),
        "{violations:?}"
    );
    let domain = |length: usize| {
        let labels = format!("{0}.{0}.{0}.", "a".repeat(63));
        format!("{labels}{}", "b".repeat(length - labels.len()))
    };
    assert!(problems(json!({"custom_domain": domain(241)})).is_empty());
    assert_eq!(problems(json!({"custom_domain": domain(242)})).len(), 1);
}

#[test]
fn hosts_of_the_platform_are_nobodys_domain() {
    let found = |domain: &str, verified: bool| {
        let entry = Networking {
            custom_domain: domain.to_owned(),
            custom_domain_verified: verified,
            ..Networking::default()
        };
        let mut violations = Violations::default();
        let hosts = ["dev.example.org", "tacc.example.org"];
        check_domains(&[("default".to_owned(), entry)].into(), hosts.into_iter(), &mut violations);
        violations.0
    };
    for domain in ["tacc.example.org", "x.dev.example.org"] {
        let problems = found(domain, false);
        assert!(
            problems.len() == 1 && problems[0].starts_with("networking, default, custom_domain"),
            "{problems:?}"
        );
    }
    assert!(found("dev.example.org", true).is_empty(), "other changes are not held up");
    for domain in ["", "example.org", "xdev.example.org", "shop.example.com"] {
        assert_eq!(found(domain, false), Vec::<String>::new(), "{domain}");
    }
}

#[test]
fn visitors_wait_for_a_container_that_is_not_ready() {
    let said = |ready, open_unready| StatusContainer {
        ready,
        open_unready,
        ..StatusContainer::because(Reason::Running, "")
    };
    for (status, ready, open, expected) in [
        (Status::Available, None, false, true),
        (Status::Available, Some(true), false, true),
        (Status::Available, Some(false), false, false),
        (Status::Available, Some(false), true, true),
        (Status::Spawning, None, false, false),
        (Status::Spawning, Some(true), true, false),
        (Status::ShuttingDown, Some(true), false, false),
        (Status::Stopped, None, true, false),
    ] {
        assert_eq!(live(status, &said(ready, open)), expected, "{status} {ready:?} {open}");
    }
}
