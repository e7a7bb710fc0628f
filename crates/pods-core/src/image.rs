//! Container image references and the list of allowed images.
//!
//! A reference is `registry[:port]/path[:tag][@digest]` (the distribution project's reference grammar). Two
//! references are compared by registry and repository, with `docker.io` and `library/` filled in where they are
//! left out; what a user typed is stored as typed.

mod bodies;
mod rule;

pub use bodies::{NewImage, UpdateImage};
pub use rule::{DEFAULT_MAIN_TENANTS, ImageRule, allowed, check_tenant_entry, tenants_allow};

/// Longest reference that is accepted, in characters.
pub const MAX_LENGTH: usize = 512;

/// A parsed reference, with the parts that Docker leaves implicit filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// Host and optional port, `docker.io` when none is given.
    pub registry: String,
    /// Path below the registry, with `library/` where Docker Hub implies it.
    pub repository: String,
    /// The tag, when one is given.
    pub tag: Option<String>,
    /// `algorithm:hex`, when one is given.
    pub digest: Option<String>,
}

/// Why a text is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "image \"{text}\" is not a valid reference: {problem} (expected registry/path:tag, path:tag or path)"
)]
pub struct ImageError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl ImageReference {
    /// Parses a reference.
    ///
    /// # Errors
    /// [`ImageError`] with the part that does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let fail = |problem| Err(ImageError { text: text.chars().take(100).collect(), problem });
        if text.is_empty() || text.len() > MAX_LENGTH {
            return fail("it must have 1 to 512 characters");
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return fail("the digest must look like sha256:<64 hex digits>"),
            None => (text, None),
        };
        let last_slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[last_slash..].split_once(':') {
            Some((last, tag)) if is_tag(tag) => (&rest[..last_slash + last.len()], Some(tag.to_owned())),
            Some(_) => return fail("the tag must be up to 128 of letters, digits, _ . -"),
            None => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
            _ => ("docker.io", name),
        };
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            other => other,
        };
        if !is_host(registry) {
            return fail("the registry must be a host name with an optional port");
        }
        if path.is_empty() || !path.split('/').all(is_path_component) {
            return fail(
                "each part of the path must be lower-case letters and digits, joined by . _ __ or -",
            );
        }
        let implied = registry == "docker.io" && !path.contains('/');
        let repository = if implied { format!("library/{path}") } else { path.to_owned() };
        Ok(Self { registry: registry.to_ascii_lowercase(), repository, tag, digest })
    }

    /// Registry and repository, by which references are compared.
    pub fn repository_key(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The one spelling of the reference: `registry/repository[:tag][@digest]`.
    pub fn canonical(&self) -> String {
        let mut text = self.repository_key();
        if let Some(tag) = &self.tag {
            text += &format!(":{tag}");
        }
        if let Some(digest) = &self.digest {
            text += &format!("@{digest}");
        }
        text
    }

    /// Whether an allowlist row covers this reference: the same registry and repository, and where the row names
    /// a tag or a digest, the same one.
    pub fn is_covered_by(&self, row: &ImageReference) -> bool {
        let tag = self.tag.as_deref().unwrap_or("latest");
        self.registry == row.registry
            && self.repository == row.repository
            && row.digest.as_ref().is_none_or(|digest| self.digest.as_ref() == Some(digest))
            && row.tag.as_deref().is_none_or(|wanted| {
                // A digest decides what is pulled, so a tag beside it proves nothing.
                self.digest.is_none() && tag == wanted || (row.digest.is_some() && self.digest == row.digest)
            })
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "1"));
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_path_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(alphanumeric) || !text.ends_with(alphanumeric) {
        return false;
    }
    // Runs between letters and digits: one dot, one or two underscores, any number of hyphens.
    text.split(alphanumeric)
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, "." | "_" | "__") || run.chars().all(|c| c == '-'))
}

fn is_tag(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return false,
        };
        hex.len() == length && hex.chars().all(|c| c.is_ascii_digit() || matches!(c, 'a'..='f'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered(image: &str, row: &str) -> bool {
        ImageReference::parse(image).unwrap().is_covered_by(&ImageReference::parse(row).unwrap())
    }

    #[test]
    fn implied_parts_are_filled_in() {
        let parsed = ImageReference::parse("postgres:16").unwrap();
        assert_eq!((parsed.registry.as_str(), parsed.repository.as_str()), ("docker.io", "library/postgres"));
        let parsed = ImageReference::parse("ghcr.io:8443/a/b_c/d--e:V1.0").unwrap();
        assert_eq!((parsed.registry.as_str(), parsed.repository.as_str()), ("ghcr.io:8443", "a/b_c/d--e"));
        assert_eq!(parsed.tag.as_deref(), Some("V1.0"));
    }

    #[test]
    fn bad_references_are_refused() {
        let bad = [
            "",
            "UPPER/x",
            "a//b",
            "a:b:c",
            "a@sha256:12",
            "-a",
            "a/",
            "/a",
            "a b",
            "a:",
            "a__-b",
            "x.y:0/a",
        ];
        for text in bad {
            assert!(ImageReference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rows_cover_by_repository_and_restrict_by_tag_or_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert!(covered("postgres:16", "postgres"));
        assert!(covered("docker.io/library/postgres:16", "postgres"));
        assert!(!covered("evil/postgres", "postgres"));
        assert!(covered("postgres:16", "library/postgres:16"));
        assert!(!covered("postgres:15", "postgres:16"));
        assert!(covered("postgres", "postgres:latest"));
        assert!(covered(&format!("postgres@{digest}"), "postgres"));
        assert!(covered(&format!("postgres@{digest}"), &format!("postgres@{digest}")));
        assert!(!covered("postgres", &format!("postgres@{digest}")));
        assert!(!covered(&format!("postgres:16@{digest}"), "postgres:16"));
    }

    #[test]
    fn the_canonical_spelling_fills_in_what_is_implied() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("postgres", "docker.io/library/postgres".to_owned()),
            ("GHCR.io/a/b:1", "ghcr.io/a/b:1".to_owned()),
            (&format!("acme/x:1@{digest}"), format!("docker.io/acme/x:1@{digest}")),
        ] {
            assert_eq!(ImageReference::parse(text).unwrap().canonical(), expected);
        }
    }

    proptest! {
        #[test]
        fn the_canonical_spelling_means_the_same(
            text in "([a-z0-9]{1,5}\\.io(:[1-9][0-9]{0,3})?/)?[a-z0-9]{1,6}(/[a-z0-9]{1,6}(-[a-z0-9]{1,3})?)?(:[A-Za-z0-9_.]{1,6})?"
        ) {
            if let Ok(reference) = ImageReference::parse(&text) {
                prop_assert_eq!(ImageReference::parse(&reference.canonical()), Ok(reference));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = ImageReference::parse(&text);
        }
    }
}
