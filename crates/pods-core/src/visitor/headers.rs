//! The headers that tell a pod who visits it, as its owner configured them.

use super::Visitor;
use crate::networking::is_reserved_header;

/// Stand in header values and become what the platform says of the visitor.
const PLACEHOLDERS: [(&str, Part); 3] = [
    ("<<tapisusername>>", Part::Username),
    ("<<tapistenantid>>", Part::Tenant),
    ("<<tapissiteid>>", Part::Site),
];

/// A header with a value that is completed for each visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeaderTemplate {
    name: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Username,
    Tenant,
    Site,
}

impl HeaderTemplate {
    /// `None` for a header that cannot be set.
    pub fn new(name: &str, value: &str) -> Option<Self> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let possible = !name.is_empty() && name.chars().all(token) && !is_reserved_header(name);
        possible.then(|| Self { name: name.to_owned(), parts: parts(value) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value for a visitor; `None` when it could not stand in a header, so that it is left out.
    pub fn value(&self, visitor: &Visitor) -> Option<String> {
        let mut value = String::new();
        for part in &self.parts {
            value.push_str(match part {
                Part::Text(text) => text,
                Part::Username => &visitor.username,
                Part::Tenant => &visitor.tenant.tenant_id,
                Part::Site => &visitor.tenant.site_id,
            });
        }
        let value = value.trim_matches(' ');
        (!value.chars().any(char::is_control)).then(|| value.to_owned())
    }
}

/// Read once from left to right: what a placeholder became is not looked at again.
fn parts(value: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let next = PLACEHOLDERS
            .iter()
            .filter_map(|(text, part)| rest.find(text).map(|at| (at, text.len(), part)))
            .min_by_key(|(at, ..)| *at);
        let Some((at, length, part)) = next else {
            parts.push(Part::Text(rest.to_owned()));
            break;
        };
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        parts.push(part.clone());
        rest = &rest[at + length..];
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Tenant;

    fn visitor(username: &str) -> Visitor {
        Visitor { tenant: Tenant::new("tacc", "dev"), username: username.to_owned() }
    }

    fn value(template: &str, username: &str) -> Option<String> {
        HeaderTemplate::new("X-User", template).unwrap().value(&visitor(username))
    }

    #[test]
    fn placeholders_become_what_the_platform_says() {
        for (template, expected) in [
            ("<<tapisusername>>", "ann"),
            ("<<tapistenantid>>", "dev"),
            ("<<tapissiteid>>", "tacc"),
            ("<<tapisusername>>@domain.io", "ann@domain.io"),
            ("<<tapisusername>>.<<tapistenantid>>.<<tapissiteid>>", "ann.dev.tacc"),
            ("tip#1", "tip#1"),
            ("", ""),
            ("<tapisusername> <<other>> <<tapisusername", "<tapisusername> <<other>> <<tapisusername"),
            ("<<<<tapisusername>>>>", "<<ann>>"),
            ("  padded  ", "padded"),
        ] {
            assert_eq!(value(template, "ann").as_deref(), Some(expected), "{template}");
        }
    }

    #[test]
    fn a_username_is_text_and_nothing_else() {
        assert_eq!(value("<<tapisusername>>", "<<tapistenantid>>").unwrap(), "<<tapistenantid>>");
        assert_eq!(value("<<tapisusername>>tenantid>>", "<<tapis").unwrap(), "<<tapistenantid>>");
        for bad in ["a\r\nX-Admin: 1", "a\n", "a\0b", "a\u{7f}", "a\u{85}b"] {
            assert_eq!(value("user <<tapisusername>>", bad), None, "{bad:?}");
        }
        assert_eq!(value("a\r\nX-Admin: 1", "ann"), None, "a value of old that nobody checked");
    }

    #[test]
    fn headers_of_the_connection_and_ours_cannot_be_set() {
        for bad in [
            "",
            "Cookie",
            "COOKIE",
            "X-Tapis-Token",
            "x_tapis_token",
            "Content-Length",
            "Transfer_Encoding",
            "Host",
            "a b",
            "a:b",
            "a\r\nb",
            "é",
        ] {
            assert_eq!(HeaderTemplate::new(bad, "x"), None, "{bad:?}");
        }
        for good in
            ["X-Tapis-Username", "pods_service_still_accepts-underscores", "Authorization", "Remote-User"]
        {
            assert!(HeaderTemplate::new(good, "x").is_some(), "{good}");
        }
    }

    proptest! {
        #[test]
        fn no_value_ends_its_line(template in ".{0,40}", username in ".{0,20}") {
            if let Some(value) = value(&template, &username) {
                prop_assert!(!value.contains(['\r', '\n', '\0']));
            }
        }
    }
}
