//! References to template tags: `template_id`, `template_id:tag`, `template_id:tag@YYYY-MM-DD-HH:MM:SS`.
//!
//! A user may leave out the tag (`latest`) and the timestamp (the newest tag of that name). What is stored is always
//! the whole form, a [`PinnedReference`]: tags are immutable, so a stored reference means the same thing for ever.

use std::fmt;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

/// The tag of a reference that names none.
pub const LATEST: &str = "latest";
/// Longest tag, in characters.
pub const TAG_MAX: usize = 80;

/// How a timestamp is written, `2026-01-30-17:14:14`, in UTC.
const TIMESTAMP_FORMAT: &str = "%Y-%m-%d-%H:%M:%S";

/// Why a text is no template id, tag or reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not between 3 and 64 characters.
    #[error("template_id must have 3 to 64 characters, it has {0}")]
    IdLength(usize),
    /// A character outside of `[a-z][a-z0-9]+`.
    #[error("template_id must be lower-case letters and digits and start with a letter")]
    IdCharacters,
    /// Collides with a route of the service.
    #[error("template_id \"{0}\" is reserved by the service, choose another one")]
    IdReserved(String),
    /// Not `[a-zA-Z0-9-.]+` of at most [`TAG_MAX`] characters.
    #[error("tag must be 1 to {TAG_MAX} letters, digits, \"-\" and \".\"")]
    Tag,
    /// Not `YYYY-MM-DD-HH:MM:SS`.
    #[error("timestamp \"{0}\" must look like 2026-01-30-17:14:14")]
    Timestamp(String),
    /// `template_id@timestamp`.
    #[error("template \"{0}\" has a timestamp but no tag; write template_id:tag@timestamp")]
    TimestampWithoutTag(String),
    /// More than one colon before the timestamp.
    #[error("template \"{0}\" has more than one \":\" before the timestamp; write template_id:tag@timestamp")]
    Colons(String),
    /// A stored reference without tag or timestamp.
    #[error("template \"{0}\" names no single tag; write template_id:tag@timestamp")]
    NotPinned(String),
}

/// Checks the grammar of a template id: `[a-z][a-z0-9]+`, 3 to 64 characters, not reserved.
///
/// # Errors
/// The first rule that the text breaks.
pub fn check_template_id(text: &str) -> Result<(), ReferenceError> {
    let length = text.chars().count();
    if !(3..=64).contains(&length) {
        return Err(ReferenceError::IdLength(length));
    }
    let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_well || !text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return Err(ReferenceError::IdCharacters);
    }
    // `/pods/templates/tags` lists the tags of all templates, as an object with the ids of templates as its keys; a
    // key `self` breaks clients that turn objects into attributes.
    if matches!(text, "tags" | "self") {
        return Err(ReferenceError::IdReserved(text.to_owned()));
    }
    Ok(())
}

/// Checks the grammar of a tag's name.
///
/// # Errors
/// [`ReferenceError::Tag`].
pub fn check_tag(text: &str) -> Result<(), ReferenceError> {
    let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if (1..=TAG_MAX).contains(&text.len()) && text.chars().all(character) {
        Ok(())
    } else {
        Err(ReferenceError::Tag)
    }
}

/// Reads the timestamp of a tag.
///
/// # Errors
/// [`ReferenceError::Timestamp`].
pub fn parse_timestamp(text: &str) -> Result<DateTime<Utc>, ReferenceError> {
    NaiveDateTime::parse_from_str(text, TIMESTAMP_FORMAT)
        .ok()
        // chrono accepts `2026-1-3-1:1:1` too, which is no text that a tag ever has.
        .filter(|time| time.format(TIMESTAMP_FORMAT).to_string() == text)
        .map(|time| time.and_utc())
        .ok_or_else(|| ReferenceError::Timestamp(clip(text)))
}

fn check_timestamp(text: &str) -> Result<(), ReferenceError> {
    parse_timestamp(text).map(drop)
}

/// The key of a tag within its template: `tag@YYYY-MM-DD-HH:MM:SS`.
pub fn tag_timestamp(tag: &str, at: DateTime<Utc>) -> String {
    format!("{tag}@{}", at.format(TIMESTAMP_FORMAT))
}

/// A reference as a user writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateReference {
    /// The template.
    pub template_id: String,
    /// The tag; `latest` when the user names none.
    pub tag: String,
    /// `YYYY-MM-DD-HH:MM:SS`; the newest of the tag when the user names none.
    pub timestamp: Option<String>,
}

impl TemplateReference {
    /// Parses a reference.
    ///
    /// # Errors
    /// The part that does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        // The timestamp has colons of its own, so it goes first.
        let (name, timestamp) = match text.split_once('@') {
            Some((name, timestamp)) => (name, Some(timestamp)),
            None => (text, None),
        };
        let (template_id, tag) = match name.split_once(':') {
            Some((_, tag)) if tag.contains(':') => return Err(ReferenceError::Colons(clip(text))),
            Some((template_id, tag)) => (template_id, tag),
            None if timestamp.is_some() => return Err(ReferenceError::TimestampWithoutTag(clip(text))),
            None => (name, LATEST),
        };
        check_template_id(template_id)?;
        check_tag(tag)?;
        timestamp.map_or(Ok(()), check_timestamp)?;
        Ok(Self {
            template_id: template_id.to_owned(),
            tag: tag.to_owned(),
            timestamp: timestamp.map(str::to_owned),
        })
    }

    /// `tag@timestamp`, when the user names a timestamp.
    pub fn tag_timestamp(&self) -> Option<String> {
        self.timestamp.as_ref().map(|timestamp| format!("{}@{timestamp}", self.tag))
    }

    /// What to answer when nothing has this reference; the same for an unknown template and an unknown tag, so that
    /// the names of templates that the user may not read stay unknown.
    pub fn unknown(&self) -> String {
        let bare = if self.tag == LATEST && self.timestamp.is_none() {
            "; a template can be named without a tag only when it has the tag \"latest\""
        } else {
            ""
        };
        format!(
            "template \"{self}\" does not exist or is not shared with you{bare}; see GET /pods/templates/tags"
        )
    }
}

impl fmt::Display for TemplateReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.template_id, self.tag)?;
        self.timestamp.as_ref().map_or(Ok(()), |timestamp| write!(f, "@{timestamp}"))
    }
}

/// A reference that names exactly one immutable tag, as it is stored: `template_id:tag@YYYY-MM-DD-HH:MM:SS`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PinnedReference(String);

/// The parts of a [`PinnedReference`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedParts<'a> {
    /// The template.
    pub template_id: &'a str,
    /// The tag's name.
    pub tag: &'a str,
    /// `YYYY-MM-DD-HH:MM:SS`.
    pub timestamp: &'a str,
    /// `tag@timestamp`.
    pub tag_timestamp: &'a str,
}

impl PinnedReference {
    /// Joins the parts.
    pub fn new(template_id: &str, tag_timestamp: &str) -> Self {
        Self(format!("{template_id}:{tag_timestamp}"))
    }

    /// Parses a whole reference.
    ///
    /// # Errors
    /// The part that does not follow the grammar or is missing.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let reference = TemplateReference::parse(text)?;
        match reference.timestamp {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(ReferenceError::NotPinned(clip(text))),
        }
    }

    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts.
    pub fn parts(&self) -> PinnedParts<'_> {
        let (template_id, tag_timestamp) = self.0.split_once(':').unwrap_or((&self.0, ""));
        let (tag, timestamp) = tag_timestamp.split_once('@').unwrap_or((tag_timestamp, ""));
        PinnedParts { template_id, tag, timestamp, tag_timestamp }
    }

    /// The same template and tag without the timestamp, to look for a newer one.
    pub fn unpinned(&self) -> TemplateReference {
        let parts = self.parts();
        TemplateReference {
            template_id: parts.template_id.to_owned(),
            tag: parts.tag.to_owned(),
            timestamp: None,
        }
    }
}

impl fmt::Display for PinnedReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn clip(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (String, String, Option<String>) {
        let reference = TemplateReference::parse(text).unwrap();
        (reference.template_id, reference.tag, reference.timestamp)
    }

    #[test]
    fn the_three_forms_are_understood() {
        let latest = ("neo4j".to_owned(), "latest".to_owned(), None);
        assert_eq!(parsed("neo4j"), latest);
        assert_eq!(parsed("neo4j:latest"), latest);
        assert_eq!(parsed("fastapi:with.Period-2").1, "with.Period-2");
        let (id, tag, timestamp) = parsed("neo4j:5.26s3se@2025-01-30-17:14:14");
        assert_eq!((id.as_str(), tag.as_str()), ("neo4j", "5.26s3se"));
        assert_eq!(timestamp.as_deref(), Some("2025-01-30-17:14:14"));
    }

    #[test]
    fn each_mistake_has_its_own_text() {
        for (text, expected) in [
            ("", "3 to 64 characters"),
            ("ab", "3 to 64 characters"),
            ("Neo4j", "lower-case"),
            ("4neo", "lower-case"),
            ("neo-4j", "lower-case"),
            ("tags", "reserved"),
            ("neo4j:", "tag must be"),
            ("neo4j:a_b", "tag must be"),
            ("neo4j:a b", "tag must be"),
            ("neo4j@2025-01-30-17:14:14", "no tag"),
            ("neo4j:5:26", "more than one"),
            ("neo4j:5:26@2025-01-30-17:14:14", "more than one"),
            ("neo4j:5@", "must look like"),
            ("neo4j:5@2025-01-30T17:14:14", "must look like"),
            ("neo4j:5@2025-13-30-17:14:14", "must look like"),
            ("neo4j:5@2025-1-3-17:14:14", "must look like"),
            ("neo4j:5@2025-01-30-17:14:14@x", "must look like"),
        ] {
            let error = TemplateReference::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(check_tag(&"a".repeat(TAG_MAX)).is_ok());
        assert!(check_tag(&"a".repeat(TAG_MAX + 1)).is_err());
        assert!(PinnedReference::parse("neo4j:latest").unwrap_err().to_string().contains("no single tag"));
    }

    #[test]
    fn the_timestamp_is_written_in_utc_without_fraction() {
        let at = DateTime::parse_from_rfc3339("2025-01-30T19:14:14.9+02:00").unwrap().to_utc();
        assert_eq!(tag_timestamp("5.26s3se", at), "5.26s3se@2025-01-30-17:14:14");
    }

    prop_compose! {
        fn references()(
            template_id in "[a-z][a-z0-9]{2,20}",
            tag in "[a-zA-Z0-9.-]{1,20}",
            seconds in 0_i64..4_000_000_000,
        ) -> (String, String, DateTime<Utc>) {
            (template_id, tag, DateTime::from_timestamp(seconds, 0).unwrap())
        }
    }

    proptest! {
        #[test]
        fn what_is_pinned_is_parsed_again((template_id, tag, at) in references()) {
            prop_assume!(template_id != "tags");
            let pinned = PinnedReference::new(&template_id, &tag_timestamp(&tag, at));
            prop_assert_eq!(&PinnedReference::parse(pinned.as_str()).unwrap(), &pinned);
            let parts = pinned.parts();
            prop_assert_eq!((parts.template_id, parts.tag), (template_id.as_str(), tag.as_str()));
            let reference = TemplateReference::parse(pinned.as_str()).unwrap();
            prop_assert_eq!(reference.to_string(), pinned.to_string());
            let expected = tag_timestamp(&tag, at);
            prop_assert_eq!(reference.tag_timestamp(), Some(expected));
            prop_assert_eq!(pinned.unpinned().to_string(), format!("{template_id}:{tag}"));
        }

        #[test]
        fn no_text_panics_and_what_parses_prints_as_it_was_understood(text in "\\PC{0,40}|[a-z0-9:@.-]{0,40}") {
            if let Ok(reference) = TemplateReference::parse(&text) {
                prop_assert_eq!(TemplateReference::parse(&reference.to_string()), Ok(reference));
            }
        }
    }
}
