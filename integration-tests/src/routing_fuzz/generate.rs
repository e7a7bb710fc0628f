//! Bodies of `POST /pods` that are mostly right and here and there hostile.

use serde_json::{Map, Value, json};

use crate::random::Random;

/// What could leave the place that it is written into: rules, JSON, YAML, regular expressions, headers, host names.
const HOSTILE: &[&str] = &[
    "`",
    "`) || Host(`evil.example`) || Path(`",
    "`) && !Host(`",
    "Host(`x`)",
    "\"",
    "\\\"",
    "\"}},\"routers\":{\"api\":{}}",
    "'",
    "\n",
    "\r\nX-Evil: 1",
    "\0",
    "\t",
    "\\",
    "\\`",
    "{{ .Host }}",
    "{{env \"HOME\"}}",
    "${HOME}",
    "$(id)",
    "<<tapisusername>>",
    "<<tapistenantid>>\r\n",
    "api@internal",
    "noop@internal",
    "catch-all",
    "api",
    "edge",
    "pods-tacc-dev-neighbour",
    "neighbour.pods.dev.example.org",
    "neighbour.example.com",
    "dev.example.org",
    "evil.dev.example.org",
    "*.example.org",
    "*",
    ".*",
    "^.*$",
    "(",
    "[",
    "[a[b]]",
    "(?i)",
    "(?x) a b",
    "(?P<n>a)",
    "a{1000}",
    "(a{100}){100}",
    "a**",
    "\\p{Greek}",
    "\\u0041",
    "[[:alpha:]]",
    "/../../",
    "/%2e%2e/",
    "//",
    "/",
    "/a b",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/99",
    "fe80::1%eth0",
    "::ffff:10.0.0.1/96",
    "null",
    "~",
    "- a: b",
    "\u{202e}evil",
    "éé",
    "😀",
    "\u{feff}",
    "",
];

/// Expressions that both dialects know, and near misses.
const PATTERNS: &[&str] = &[
    r"\.(js|css)$",
    "^/static/",
    r"(?i)\x2fpublic",
    r"[^]a-z\-]+",
    r"\bword\B",
    r"a{2,5}?",
    r"(?s-i:.x)",
    r"\d\D\s\S\w\W",
    r"(?P<first_name>[[:^alpha:]]|)",
    r"\pL\p{Nd}\PL",
    r"$^\A\z",
    r"[\x00-\x1f;\\]",
    r"(a|b|)*",
    r"(?U)a+",
    r"\Qa\E",
    r"\/\-\!\%",
];

/// The next body.
pub fn definition(random: &mut Random) -> Value {
    let mut body = Map::new();
    let length = 3 + random.below(12);
    body.insert("pod_id".into(), json!(word(random, length)));
    body.insert("image".into(), json!("busybox"));
    let mut networking = Map::new();
    for _ in 0..=random.below(4) {
        let name = match random.below(12) {
            0..=3 => "default".to_owned(),
            4 => "login".to_owned(),
            5 => "noauth".to_owned(),
            6 => "domain".to_owned(),
            7 if random.percent(20) => hostile(random),
            _ => word(random, 3),
        };
        networking.insert(name, entry(random));
    }
    body.insert("networking".into(), Value::Object(networking));
    if random.percent(2) {
        body.insert("pod_id".into(), json!(hostile(random)));
    }
    Value::Object(body)
}

fn entry(random: &mut Random) -> Value {
    let mut entry = Map::new();
    let protocol = *random.choose(&[(6, "http"), (2, "tcp"), (2, "postgres"), (1, "local_only")]);
    entry.insert("protocol".into(), json!(protocol));
    entry.insert("port".into(), json!(10 + random.below(65_526)));
    if random.percent(40) {
        let good = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1", "::ffff:10.0.0.1", "0.0.0.0/0"];
        put(&mut entry, "ip_allow_list", some(random, &good, 3));
    }
    if protocol == "postgres" && random.percent(50) {
        put(&mut entry, "tls_mode", json!(*random.choose(&[(1, "terminate"), (1, "passthrough")])));
    }
    if protocol == "http" {
        http(random, &mut entry);
    }
    // What does not belong to the protocol, or to anybody.
    if random.percent(3) {
        let key = *random.choose(&[
            (1, "url"),
            (1, "tls_mode"),
            (1, "custom_domain"),
            (1, "protocol"),
            (1, "bogus"),
        ]);
        put(&mut entry, key, json!(hostile(random)));
    }
    Value::Object(entry)
}

fn http(random: &mut Random, entry: &mut Map<String, Value>) {
    if random.percent(50) {
        put(entry, "tapis_auth", json!(true));
    }
    if random.percent(40) {
        put(
            entry,
            "tapis_auth_excluded_paths",
            some(random, &["/open", "/a/b", "/(x)", "/%41", "/$1", "/{x}"], 3),
        );
    }
    if random.percent(40) {
        put(entry, "tapis_auth_excluded_path_regex", some(random, PATTERNS, 3));
    }
    if random.percent(40) {
        let names =
            ["X-Tapis-Username", "x_tapis_tenant", "A.b", "!#$%&'*+-.^_`|~", "Authorization", "Cookie", "TE"];
        let mut headers = Map::new();
        for _ in 0..=random.below(4) {
            let name = text(random, &names);
            headers.insert(name, json!(text(random, &["<<tapisusername>>", "plain", "a;b,c"])));
        }
        put(entry, "tapis_auth_response_headers", Value::Object(headers));
    }
    if random.percent(40) {
        put(entry, "cors_allow_origins", some(random, &["https://app.example", "*", "null"], 3));
        put(entry, "cors_allow_methods", some(random, &["GET", "PUT", "*"], 3));
        put(entry, "cors_allow_headers", some(random, &["content-type", "X-A", "*"], 3));
        put(entry, "cors_allow_credentials", json!(random.percent(50)));
        put(entry, "cors_max_age", json!(random.below(101)));
        put(entry, "cors_add_vary_header", json!(random.percent(50)));
    }
    if random.percent(40) {
        put(entry, "proxy_compression", json!(random.percent(80)));
        put(entry, "proxy_compression_encodings", some(random, &["zstd", "br", "gzip"], 1));
        put(
            entry,
            "proxy_compression_excluded_content_types",
            some(random, &["text/plain", "a/b", "text/*"], 3),
        );
        put(entry, "proxy_compression_min_response_body_bytes", json!(random.below(10_485_761)));
    }
    if random.percent(15) {
        let domain = format!("{}.example.com", word(random, 8));
        put(entry, "custom_domain", json!(text(random, &[domain.as_str(), "xn--bcher-kva.example"])));
    }
}

fn put(entry: &mut Map<String, Value>, key: &str, value: Value) {
    entry.insert(key.to_owned(), value);
}

fn some(random: &mut Random, good: &[&str], most: usize) -> Value {
    let count = random.below(most + 1);
    (0..count).map(|_| text(random, good)).collect()
}

/// Mostly one of the good ones; else something hostile, alone or within a good one.
fn text(random: &mut Random, good: &[&str]) -> String {
    let fine = good[random.below(good.len())].to_owned();
    match random.below(40) {
        0 => hostile(random),
        1 => format!("{fine}{}", hostile(random)),
        2 => format!("{}{fine}", hostile(random)),
        3 => format!("/{}", hostile(random)),
        4 => (0..random.below(12)).filter_map(|_| char::from_u32(random.below(128) as u32)).collect(),
        _ => fine,
    }
}

fn hostile(random: &mut Random) -> String {
    let mut text = HOSTILE[random.below(HOSTILE.len())].to_owned();
    while random.percent(30) {
        text.push_str(HOSTILE[random.below(HOSTILE.len())]);
    }
    if random.percent(2) {
        text = text.repeat(random.below(300));
    }
    text
}

fn word(random: &mut Random, length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..length)
        .map(|at| char::from(LETTERS[random.below(if at == 0 { 26 } else { LETTERS.len() })]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_part_is_accepted_and_a_good_part_is_not() {
        let mut random = Random::of(1, "share", 0);
        let good = (0..2000).filter(|_| pods_core::NewPod::read(definition(&mut random)).is_ok()).count();
        assert!((400..1700).contains(&good), "{good} of 2000");
    }
}
