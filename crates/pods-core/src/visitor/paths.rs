//! Paths that visitors are led to, and paths that may be reached without a login.

/// Everything below it on a pod's host is ours: sessions, login, logout.
pub const WELL_KNOWN: &str = "/.well-known/tapis-pods/";
/// Longest path and query that is remembered through a login. It goes around through the platform's login page, which
/// may keep all of it in a cookie of its own.
pub const RETURN_MAX: usize = 1024;

/// `text` when it is a path with query on the visited host, and none of ours. Whoever redirects writes scheme and host
/// in front of it, so that it cannot name another host.
pub fn local(text: &str) -> Option<&str> {
    let well_formed = text.starts_with('/')
        && text.len() <= RETURN_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains('\\');
    // A browser that leaves scheme and host out of what it compares must not take the rest for a host.
    let ambiguous = text.starts_with("//");
    // Only the plain spelling is served by us: what is written otherwise belongs to the pod.
    let ours = text.starts_with(WELL_KNOWN) || text == WELL_KNOWN.trim_end_matches('/');
    (well_formed && !ambiguous && !ours).then_some(text)
}

/// An address on a host that visitors reach at `port`. `path` is empty or begins with a slash, so that it cannot name
/// another host.
pub fn on_host(host: &str, port: u16, path: &str) -> String {
    match port {
        443 => format!("https://{host}{path}"),
        port => format!("https://{host}:{port}{path}"),
    }
}

/// Whether the path (query included) means the same to the proxy, to us and to every program behind: no dot segments,
/// doubled slashes, backslashes, encoded slashes or dots, bytes that are no text (some servers read `%c0%ae` as a dot), or
/// parameters that some servers drop. What is written in any other way is never reached without a login.
pub fn is_plain(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let lower = path.to_ascii_lowercase();
    let tricky = ["//", "\\", ";", "%2f", "%5c", "%2e", "%25", "%3b"];
    let dots = || lower.split('/').any(|segment| matches!(segment, "." | ".."));
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && !tricky.iter().any(|trick| lower.contains(trick))
        && !dots()
        && is_text(path.as_bytes())
}

/// Whether a path is text once it is decoded, without characters that only control a terminal.
fn is_text(mut path: &[u8]) -> bool {
    let mut decoded = Vec::with_capacity(path.len());
    while let [first, rest @ ..] = path {
        path = rest;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, rest @ ..] = path else { return false };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return false };
        decoded.push(high * 16 + low);
        path = rest;
    }
    std::str::from_utf8(&decoded).is_ok_and(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_paths_of_the_same_host_are_led_to() {
        for good in ["/", "/lab?x=1&y=%2F", "/a/b/", "/a//b", "/.well-known/other", "/@evil.example", "/a:b"]
        {
            assert_eq!(local(good), Some(good));
        }
        for bad in [
            "",
            "lab",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil",
            "https://evil.example/",
            "/a b",
            "/a\r\nX: 1",
            "/a\tb",
            "/é",
            "/.well-known/tapis-pods/logout",
            "/.well-known/tapis-pods",
            "javascript:alert(1)",
            "/\0",
        ] {
            assert_eq!(local(bad), None, "{bad:?}");
        }
        assert!(local(&format!("/{}", "a".repeat(RETURN_MAX - 1))).is_some());
        assert!(local(&format!("/{}", "a".repeat(RETURN_MAX))).is_none());
    }

    #[test]
    fn the_usual_port_is_not_written() {
        assert_eq!(on_host("pod.example.org", 443, "/lab?x=1"), "https://pod.example.org/lab?x=1");
        assert_eq!(on_host("pod.example.org", 8443, ""), "https://pod.example.org:8443");
    }

    #[test]
    fn tricks_with_paths_are_seen() {
        for good in [
            "/",
            "/assets/app.js",
            "/assets/app.js?x=../..&y=%c0%ae",
            "/a.b/..c/d..",
            "/%41",
            "/a%20b",
            "/assets/%C3%BCber.png",
        ] {
            assert!(is_plain(good), "{good}");
        }
        for bad in [
            "",
            "assets",
            "/assets/../admin",
            "/assets/..",
            "/assets/./x",
            "/assets/%2e%2e/admin",
            "/assets/%2E./x",
            "/assets//admin",
            "//assets",
            "/assets\\..\\admin",
            "/assets%2f..%2fadmin",
            "/assets/..;/admin",
            "/a;b",
            "/assets/%252e%252e/",
            "/a%00",
            "/a b",
            "/assets%5c..",
            "/assets/%c0%ae%c0%ae/admin",
            "/assets%c0%af..%c1%9cadmin",
            "/assets/%e0%80%ae",
            "/assets/%ff",
            "/assets/%0a",
            "/assets/%7F",
            "/assets/%c2%85",
            "/assets/%2",
            "/assets/%",
            "/assets/%zz",
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_redirect_never_leaves_the_host(text in "\\PC{0,40}") {
            if let Some(path) = local(&text) {
                // As a browser reads it: the authority ends at the first slash, which the path brings along.
                let url = format!("https://pod.pods.example.org:8443{path}");
                let rest = url.strip_prefix("https://").unwrap();
                let authority = rest.split(['/', '?', '#', '\\']).next().unwrap();
                prop_assert_eq!(authority, "pod.pods.example.org:8443");
                prop_assert!(!url.contains(['\r', '\n', ' ']));
            }
        }
    }
}
