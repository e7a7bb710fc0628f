//! Durations in configuration, such as `"20s"`, `"10m"`, `"500ms"`, `"1h30m"` or `"7d"`.
//!
//! `#[serde(with = "pods_runtime::config::duration")]` on a field of type [`Duration`].

use std::time::Duration;

use jiff::{
    SpanRelativeTo,
    fmt::friendly::{SpanParser, SpanPrinter},
};
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
    read(text.trim()).map_err(|_| {
        format!("`{text}` is not a duration; write a number with a unit, such as 500ms, 20s, 10m, 1h or 7d")
    })
}

fn read(text: &str) -> Result<Duration, jiff::Error> {
    // A day is 24 hours here: no clock is set forward between two looks at something.
    let span = SpanParser::new().parse_span(text)?.to_duration(SpanRelativeTo::days_are_24_hours())?;
    Duration::try_from(span)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        let read = |text| parse(text).map(|duration| duration.as_millis()).ok();
        for (text, milliseconds) in [
            ("500ms", 500),
            ("20s", 20_000),
            (" 1h30m ", 5_400_000),
            ("1.5s", 1500),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
        ] {
            assert_eq!(read(text), Some(milliseconds), "{text}");
        }
        for text in ["", "20", "-5s", "5s ago", "soon", "1mo", "1y", "99999999999999h"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
