//! The query of a request for logs.

use chrono::{DateTime, TimeDelta, Utc};
use pods_core::input::Violations;
use pods_db::logs::Wanted;
use uuid::Uuid;

use crate::{error::ApiError, query::Query};

/// Lines that may be asked for: more than fit in what is kept.
const TAIL_MAX: u64 = 20_000_000;
/// A hundred years.
const SECONDS_MAX: f64 = 3.2e9;

/// What `GET /pods/{pod_id}/logs` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whether to stay and tell what comes.
    pub follow: bool,
    /// The part of the log.
    pub wanted: Wanted,
    /// The place after which the client goes on.
    pub cursor: Option<Cursor>,
}

/// A place in the logs of a pod, as the id of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The run.
    pub run: Uuid,
    /// The offset in it.
    pub offset: i64,
}

impl Cursor {
    /// As an id.
    pub fn id(self) -> String {
        format!("{}:{}", self.run, self.offset)
    }

    fn parse(text: &str) -> Option<Self> {
        let (run, offset) = text.split_once(':')?;
        let offset: i64 = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some(Self { run: run.parse().ok()?, offset })
    }
}

impl Wish {
    /// Reads the query.
    ///
    /// # Errors
    /// 400 with a line for every parameter that cannot be read.
    pub fn read(query: &Query, last_event_id: Option<&str>, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let follow = query.flag("follow", false)?;
        let mut violations = Violations::default();
        let wanted = part(query, now, &mut violations);
        // What a client saw last is newer than the address with which it began.
        let (place, text) = match last_event_id {
            Some(text) => (["header", "Last-Event-ID"], Some(text)),
            None => (["query", "cursor"], query.last("cursor").filter(|text| !text.is_empty())),
        };
        let cursor = text.filter(|_| follow).and_then(|text| {
            let cursor = Cursor::parse(text);
            if cursor.is_none() {
                violations.push(&place, "Input should be the id of an event of this stream");
            }
            cursor
        });
        Ok(violations.or(Self { follow, wanted, cursor })?)
    }
}

/// What `GET /pods/{pod_id}/log-runs/{run_index}` asks for: a file or not, and which part.
pub fn of_run(query: &Query, now: DateTime<Utc>) -> Result<(bool, Wanted), ApiError> {
    let download = query.flag("download", false)?;
    let mut violations = Violations::default();
    let wanted = part(query, now, &mut violations);
    Ok(violations.or((download, wanted))?)
}

fn part(query: &Query, now: DateTime<Utc>, violations: &mut Violations) -> Wanted {
    // An empty text is "not set", as everywhere.
    let given = |name| query.last(name).map(str::trim).filter(|text| !text.is_empty());
    let tail = given("tail").and_then(|text| {
        let lines = text.parse().ok().filter(|lines| *lines <= TAIL_MAX);
        if lines.is_none() {
            let problem = format!("Input should be a number of lines from 0 to {TAIL_MAX}");
            violations.push(&["query", "tail"], problem);
        }
        lines
    });
    let since = given("since").and_then(|text| {
        let since = moment(text, now);
        if since.is_none() {
            let problem =
                "Input should be a time such as 2026-11-21T04:00:00Z, or a number of seconds before now";
            violations.push(&["query", "since"], problem);
        }
        since
    });
    Wanted { tail, since }
}

/// A time, or seconds before now. The `+` of an offset may have become a blank.
fn moment(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if let Ok(seconds) = text.parse::<f64>() {
        let past = (0.0..=SECONDS_MAX).contains(&seconds).then_some(seconds)?;
        return now.checked_sub_signed(TimeDelta::milliseconds((past * 1000.0) as i64));
    }
    let at = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok()?.with_timezone(&Utc);
    // What Postgres can hold and more than anybody means.
    (at.timestamp().abs() < 300_000_000_000).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T04:00:00Z".parse().unwrap()
    }

    fn read(query: &str, id: Option<&str>) -> Result<Wish, Vec<String>> {
        Wish::read(&Query::parse(query), id, now()).map_err(|error| match error {
            ApiError::Invalid(violations) => violations.0,
            other => vec![other.to_string()],
        })
    }

    #[test]
    fn times_are_moments_or_seconds_before_now() {
        let since = |text: &str| read(text, None).unwrap().wanted.since.unwrap().to_rfc3339();
        assert_eq!(since("since=2026-11-21T03:00:00.5Z"), "2026-11-21T03:00:00.500+00:00");
        assert_eq!(since("since=2026-11-21T05:00:00+02:00"), "2026-11-21T03:00:00+00:00");
        assert_eq!(since("since=90"), "2026-11-21T03:58:30+00:00");
        assert_eq!(since("since=0.5"), "2026-11-21T03:59:59.500+00:00");
    }

    #[test]
    fn every_problem_is_told() {
        let problems = read("tail=-1&since=yesterday&follow=1&cursor=x", None).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        for bad in ["tail=1.5", "tail=99999999999", "since=-1", "since=NaN", "since=inf", "since=1e300"] {
            assert!(read(bad, None).is_err(), "{bad}");
        }
        assert_eq!(read("tail=&since=", None).unwrap().wanted, Wanted::default());
    }

    #[test]
    fn a_client_goes_on_where_it_was() {
        let run = Uuid::from_u128(7);
        let id = Cursor { run, offset: 12 }.id();
        let early = Cursor { run, offset: 3 }.id();
        let wish = read(&format!("follow=true&cursor={early}"), Some(&id)).unwrap();
        assert_eq!(wish.cursor, Some(Cursor { run, offset: 12 }));
        assert_eq!(read(&format!("follow=true&cursor={early}"), None).unwrap().cursor.unwrap().offset, 3);
        assert_eq!(read("cursor=x", None).unwrap().cursor, None, "without follow it means nothing");
        let problems = read("follow=true", Some("7-1")).unwrap_err();
        assert!(problems[0].starts_with("header, Last-Event-ID"), "{problems:?}");
    }
}
