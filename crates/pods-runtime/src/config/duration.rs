//! Durations in configuration, such as `"20s"`, `"10m"`, `"500ms"` or `"1h30m"`.
//!
//! `#[serde(with = "pods_runtime::config::duration")]` on a field of type [`Duration`].

use std::time::Duration;

use jiff::fmt::friendly::{SpanParser, SpanPrinter};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Reads a duration written with units.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Writes a duration with units.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&SpanPrinter::new().unsigned_duration_to_string(duration))
}

/// Reads a duration written with units; the error is a sentence for the person who wrote it.
pub fn parse(text: &str) -> Result<Duration, String> {
    SpanParser::new().parse_unsigned_duration(text.trim()).map_err(|_| {
        format!("`{text}` is not a duration; write a number with a unit, such as 500ms, 20s, 10m or 1h")
    })
}

/// The same for `Option<Duration>`; the field needs `#[serde(default)]` too.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Error, Serializer};

    /// Reads a duration, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text)).transpose().map_err(D::Error::custom)
    }

    /// Writes a duration, or nothing.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }
}
