//! Our cookies among those of a request. A pod never sees them, nor the platform token that some sites keep in one.

/// Holds the sealed session, on the pod's own host.
pub const SESSION_COOKIE: &str = "__Host-tapis-pods-session";
/// Ties a login that is under way to the browser that began it.
pub const LOGIN_COOKIE: &str = "__Host-tapis-pods-login";
/// The name under which other services of the platform keep the user's token; written with `-` or `_`.
const TOKEN_COOKIE: &str = "x-tapis-token";

/// The values of all cookies with exactly the name `name`. A quoted one has another name for browsers, which let every
/// neighbour of the host set it.
pub fn values<'a>(headers: impl Iterator<Item = &'a [u8]>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.flat_map(parts).filter_map(move |part| {
        let (found, value) = split(part);
        (found == name.as_bytes()).then(|| value.trim_ascii())
    })
}

/// What is left of the `Cookie` headers of a request for the pod; `None` when nothing is.
pub fn without_ours<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut kept: Vec<u8> = Vec::new();
    for part in headers.flat_map(parts).filter(|part| !is_ours(split(part).0)) {
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(part);
    }
    (!kept.is_empty()).then_some(kept)
}

/// Programs differ in how they read cookie names, so everything that any of them could take for ours is. Some remove
/// quotes around a name.
fn is_ours(name: &[u8]) -> bool {
    let bare = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\""));
    let name = bare.unwrap_or(name).trim_ascii();
    let same = |ours: &str| {
        name.len() == ours.len()
            && name.iter().zip(ours.bytes()).all(|(a, b)| match b {
                b'-' | b'_' => matches!(a, b'-' | b'_'),
                letter => a.eq_ignore_ascii_case(&letter),
            })
    };
    [SESSION_COOKIE, LOGIN_COOKIE, TOKEN_COOKIE].into_iter().any(same)
}

fn parts(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// Name and value.
fn split(part: &[u8]) -> (&[u8], &[u8]) {
    let (name, value) = match part.iter().position(|byte| *byte == b'=') {
        Some(at) => (&part[..at], &part[at + 1..]),
        None => (part, &[][..]),
    };
    (name.trim_ascii(), value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left(headers: &[&str]) -> Option<String> {
        let left = without_ours(headers.iter().map(|header| header.as_bytes()));
        left.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn ours_are_taken_out_and_the_rest_stays() {
        let cases: [(&[&str], Option<&str>); 16] = [
            (&[], None),
            (&[""], None),
            (&["a=1"], Some("a=1")),
            (&["a=1; b=2"], Some("a=1; b=2")),
            (&["a=1;b=2"], Some("a=1; b=2")),
            (&["__Host-tapis-pods-session=x"], None),
            (&["a=1; __Host-tapis-pods-session=x; b=2"], Some("a=1; b=2")),
            (&["__Host-tapis-pods-login=x", "a=1", "__HOST-Tapis-Pods-Session=y"], Some("a=1")),
            (&["a=1; X-Tapis-Token=jwt"], Some("a=1")),
            (&["x_tapis_token=jwt; x-tapis-token=jwt; X-TAPIS_Token=jwt"], None),
            (&["\"__Host-tapis-pods-session\"=x; \" __Host-tapis-pods-login \"=x; b=2"], Some("b=2")),
            (&["\"X-Tapis-Token\"=jwt; \t__Host-tapis-pods-session\t=x;;"], None),
            (&["__Host-tapis-pods-session"], None),
            (&["a=\"; __Host-tapis-pods-session=x; b=\""], Some("a=\"; b=\"")),
            (
                &["my-__Host-tapis-pods-session=x; X-Tapis-Token2=1"],
                Some("my-__Host-tapis-pods-session=x; X-Tapis-Token2=1"),
            ),
            (&["=bare; flag"], Some("=bare; flag")),
        ];
        for (headers, expected) in cases {
            assert_eq!(left(headers).as_deref(), expected, "{headers:?}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_exact_name() {
        let headers = [
            "a=1; __Host-tapis-pods-login= n1 ;b=2",
            "__host-tapis-pods-login=no; \"__Host-tapis-pods-login\"=no; __Host-tapis-pods-login\"=no",
            "__Host-tapis-pods-login=n2",
        ];
        let found: Vec<_> = values(headers.iter().map(|header| header.as_bytes()), LOGIN_COOKIE).collect();
        assert_eq!(found, [b"n1", b"n2"]);
    }

    proptest! {
        #[test]
        fn nothing_of_ours_is_left_whatever_stands_around(
            before in "[ -:<-~]{0,20}", between in "[ \t;]{0,4}", secret in "[a-z]{12}", after in "[ -~]{0,20}",
            name in prop::sample::select(vec![SESSION_COOKIE, LOGIN_COOKIE, "X-Tapis-Token", "x_tapis-token"]),
        ) {
            let header = format!("{before};{between}{name}{between}={secret};{after}");
            prop_assume!(!before.contains(&secret) && !after.contains(&secret) && !between.contains(';'));
            let left = without_ours(std::iter::once(header.as_bytes())).unwrap_or_default();
            prop_assert!(!left.windows(secret.len()).any(|part| part == secret.as_bytes()));
        }

        #[test]
        fn what_is_not_ours_is_kept_in_order(cookies in prop::collection::vec("[a-w][a-z]{0,5}=[!-:<-~]{0,8}", 0..6)) {
            let header = cookies.join("; ");
            let left = without_ours(std::iter::once(header.as_bytes()));
            prop_assert_eq!(left.unwrap_or_default(), header.into_bytes());
        }
    }
}
