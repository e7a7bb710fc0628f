//! The log of a container as a stream of lines with their times.

use std::io;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use futures::{AsyncBufRead, AsyncBufReadExt, Stream, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};

use crate::failure::{Failure, classify};

/// Longest piece that is held in memory; a longer line arrives in pieces of this size.
///
/// Container runtimes store long lines in pieces of this size too, each with a time of its own. Kubelets before 1.25 send
/// that time in front of each piece, in the middle of the line, and it is taken out here.
pub const LINE_MAX: usize = 16 * 1024;
/// No time with the space behind it is longer: 2026-11-21T04:00:00.123456789+00:00 has 35 characters.
const TIME_MAX: usize = 40;

/// Which part of a log to read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Whether to wait for further lines until the container ends.
    pub follow: bool,
    /// Only lines of this second and later. The API server knows whole seconds only, so older lines of the same
    /// second arrive too.
    pub since: Option<DateTime<Utc>>,
    /// At most this many lines from the end.
    pub tail_lines: Option<i64>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When the container wrote it, cut to the microseconds that Postgres keeps.
    pub at: DateTime<Utc>,
    /// Whether it is the beginning of a line; else it goes on with the one before.
    pub begins: bool,
    /// What it wrote, with the line feed. Without one the line was longer than [`LINE_MAX`] and goes on in the next
    /// item, or the stream ended inside of it.
    pub bytes: Vec<u8>,
}

/// Reads or follows the log of a Pod's container.
///
/// # Errors
/// What the answer of the API server means; [`Failure::Gone`] when the Pod or its log does not exist.
pub async fn stream(
    api: &Api<Pod>,
    pod_name: &str,
    query: &LogQuery,
) -> Result<impl Stream<Item = io::Result<LogLine>> + Send + Unpin + use<>, Failure> {
    let parameters = LogParams {
        follow: query.follow,
        since_time: query.since.and_then(whole_second),
        tail_lines: query.tail_lines,
        timestamps: true,
        ..LogParams::default()
    };
    let reader = api.log_stream(pod_name, &parameters).await.map_err(|error| classify(&error))?;
    Ok(lines(Box::pin(reader)))
}

/// kube rounds to the nearest second, which may be later than asked and would lose lines.
fn whole_second(at: DateTime<Utc>) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(at.timestamp()).ok()
}

/// Splits what the API server sends into lines, at most [`LINE_MAX`] bytes of one at a time.
fn lines<R: AsyncBufRead + Send + Unpin>(
    reader: R,
) -> impl Stream<Item = io::Result<LogLine>> + Send + Unpin {
    let state = State { reader, at: None, done: false };
    Box::pin(stream::unfold(state, |mut state| async move {
        if state.done {
            return None;
        }
        match state.next().await {
            Ok(Some(line)) => Some((Ok(line), state)),
            Ok(None) => None,
            Err(error) => {
                state.done = true;
                Some((Err(error), state))
            }
        }
    }))
}

struct State<R> {
    reader: R,
    /// The time of the line that is being read in pieces; `None` at the start of a line.
    at: Option<DateTime<Utc>>,
    done: bool,
}

impl<R: AsyncBufRead + Send + Unpin> State<R> {
    async fn next(&mut self) -> io::Result<Option<LogLine>> {
        let mut bytes = Vec::new();
        let mut complete = self.read_to(&mut bytes, TIME_MAX).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let at = match (split_time(&bytes), self.at) {
            (Some((at, length)), _) => {
                bytes.drain(..length);
                at
            }
            (None, Some(at)) => at,
            // Not a line of the container: a message of the kubelet itself has no time.
            (None, None) => Utc::now().duration_trunc(TimeDelta::microseconds(1)).unwrap_or_default(),
        };
        if !complete {
            complete = self.read_to(&mut bytes, LINE_MAX).await?;
        }
        let begins = self.at.is_none();
        self.at = if complete { None } else { Some(at) };
        Ok(Some(LogLine { at, bytes, begins }))
    }

    /// Reads to the end of the line, of the stream, or until there are `limit` bytes; `true` at the end of a line.
    async fn read_to(&mut self, bytes: &mut Vec<u8>, limit: usize) -> io::Result<bool> {
        while bytes.len() < limit {
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                return Ok(false);
            }
            let window = &available[..available.len().min(limit - bytes.len())];
            let feed = window.iter().position(|byte| *byte == b'\n');
            let take = feed.map_or(window.len(), |position| position + 1);
            bytes.extend_from_slice(&window[..take]);
            self.reader.consume_unpin(take);
            if feed.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The time in front of a line and how many bytes it takes with the space behind it.
fn split_time(line: &[u8]) -> Option<(DateTime<Utc>, usize)> {
    let end = line.iter().take(TIME_MAX).position(|byte| *byte == b' ' || *byte == b'\n')?;
    let text = std::str::from_utf8(&line[..end]).ok()?;
    let at = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    let length = if line[end] == b' ' { end + 1 } else { end };
    Some((DateTime::from_timestamp_micros(at.timestamp_micros())?, length))
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, TryStreamExt, io::Cursor};

    use super::*;

    fn read(text: &[u8]) -> Vec<LogLine> {
        lines(Cursor::new(text.to_vec())).try_collect().now_or_never().unwrap().unwrap()
    }

    #[test]
    fn times_are_cut_off_and_kept_in_microseconds() {
        let lines = read(b"2026-11-21T04:00:00.123456789Z hello\n2026-11-21T04:00:01Z \n");
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].bytes, b"hello\n");
        assert_eq!(lines[0].at.timestamp_subsec_nanos(), 123_456_000);
        assert_eq!(lines[1].bytes, b"\n");
    }

    #[test]
    fn bytes_stay_as_they_are() {
        let lines = read(b"2026-11-21T04:00:00Z a\xff\xfe b\n2026-11-21T04:00:00Z cut off");
        assert_eq!(lines[0].bytes, b"a\xff\xfe b\n");
        assert_eq!(lines[1].bytes, b"cut off");
        assert_eq!(
            read(b"unable to retrieve container logs\n")[0].bytes,
            b"unable to retrieve container logs\n"
        );
        assert!(read(b"").is_empty());
    }

    #[test]
    fn an_endless_line_arrives_in_pieces_of_one_time() {
        let mut text = b"2026-11-21T04:00:00Z ".to_vec();
        text.extend(std::iter::repeat_n(b'x', LINE_MAX * 2));
        text.extend_from_slice(b"\n2026-11-21T04:00:05Z next\n");
        let lines = read(&text);
        assert_eq!(lines.len(), 4);
        assert_eq!(lines.iter().map(|line| line.bytes.len()).sum::<usize>(), LINE_MAX * 2 + 1 + 5);
        assert!(lines[..3].iter().all(|line| line.at == lines[0].at));
        assert_eq!(lines.iter().map(|line| line.begins).collect::<Vec<_>>(), [true, false, false, true]);
        assert_eq!(lines[3].bytes, b"next\n");
    }

    #[test]
    fn times_inside_of_a_long_line_are_taken_out() {
        let piece = "x".repeat(LINE_MAX);
        let text = format!(
            "2026-11-21T04:00:00Z {piece}2026-11-21T04:00:01.5Z {piece}2026-11-21T04:00:02Z the end 2026-11-21T04:00:00Z \n"
        );
        let lines = read(text.as_bytes());
        let whole: Vec<u8> = lines.iter().flat_map(|line| line.bytes.clone()).collect();
        assert_eq!(whole, format!("{piece}{piece}the end 2026-11-21T04:00:00Z \n").as_bytes());
        assert_eq!(lines.iter().map(|line| line.at.timestamp() % 10).collect::<Vec<_>>(), [0, 1, 2]);
        // Cut off in the middle of a time: what there is counts as text.
        let cut = read(format!("2026-11-21T04:00:00Z {piece}2026-11-").as_bytes());
        assert_eq!(cut[1].bytes, b"2026-11-");
    }

    #[test]
    fn the_second_is_never_rounded_up() {
        let at = DateTime::parse_from_rfc3339("2026-11-21T04:00:00.9Z").unwrap().with_timezone(&Utc);
        assert_eq!(whole_second(at).unwrap().to_string(), "2026-11-21T04:00:00Z");
    }
}
