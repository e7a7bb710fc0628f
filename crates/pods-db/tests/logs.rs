//! Stored logs: the ring, the fence, the places to resume at.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use chrono::{DateTime, Utc};
use pods_core::action_log::{LINE_MAX, LINES_MAX};
use pods_core::transition::Event;
use pods_db::{
    Connection, action_logs, leases,
    logs::{self, Append, CHUNKS_MAX, Fence, Mark, RING_BYTES, Stored, Wanted, archive, runs},
    pods::PodRow,
    testing::{TestDatabase, done, now, pod},
    transitions::Change,
};
use uuid::Uuid;

/// A pod whose container runs.
async fn running(conn: &mut Connection, pod_id: &str) -> PodRow {
    let row = pod(conn, pod_id, true).await;
    done(conn, &row, Change::new(Event::Running, now())).await
}

/// The end of its objects, and the next start until its container runs.
async fn run_again(conn: &mut Connection, row: &PodRow) -> PodRow {
    let row = done(conn, row, Change::new(Event::Stop, now())).await;
    let row = done(conn, &row, Change::new(Event::ObjectsGone, now())).await;
    let row = done(conn, &row, Change::new(Event::Start, now())).await;
    let row = done(conn, &row, Change::new(Event::SpawnBegun, now())).await;
    done(conn, &row, Change::new(Event::Running, now())).await
}

fn run_of(row: &PodRow) -> Uuid {
    row.instance_id.expect("the pod was started")
}

/// Stores what comes next in the pod's current run.
async fn write(conn: &mut Connection, row: &PodRow, bytes: impl AsRef<[u8]>) {
    write_at(conn, row, bytes, 0, &[]).await;
}

/// The same after a gap, with marks at places relative to the first byte.
async fn write_at(
    conn: &mut Connection,
    row: &PodRow,
    bytes: impl AsRef<[u8]>,
    gap: i64,
    marks: &[(i64, i64)],
) {
    let offset = runs::place(conn, run_of(row)).await.unwrap().expect("the run has begun").log_end + gap;
    let marks: Vec<Mark> =
        marks.iter().map(|(place, second)| Mark { offset: offset + place, at: at(*second) }).collect();
    let append = append(row, offset, bytes.as_ref(), &marks);
    assert_eq!(logs::append(conn, None, &[append]).await.unwrap(), all());
}

fn append<'a>(row: &PodRow, offset: i64, bytes: &'a [u8], marks: &'a [Mark]) -> Append<'a> {
    let resume_ts = marks.last().map_or_else(now, |mark| mark.at);
    Append { pod_uid: row.uid, run_id: run_of(row), offset, bytes, marks, resume_ts, resume_skip: 1 }
}

fn all() -> Stored {
    Stored::All { but: vec![] }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
}

async fn part(conn: &mut Connection, row: &PodRow, tail: Option<u64>, since: Option<i64>) -> String {
    let wanted = Wanted { tail, since: since.map(at) };
    String::from_utf8(logs::read(conn, run_of(row), wanted).await.unwrap()).unwrap()
}

async fn log(conn: &mut Connection, row: &PodRow) -> Vec<u8> {
    logs::of_latest(conn, row.uid).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_with_the_places_to_resume_at() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let (one, two) = (running(conn, "one").await, running(conn, "two").await);
    let gone = pod(conn, "gone", true).await;
    let batch = [
        append(&one, 0, b"a\n", &[]),
        append(&two, 0, b"x\n", &[]),
        append(&one, 2, b"b\n", &[]),
        append(&gone, 0, b"no run\n", &[]),
    ];
    let stored = logs::append(conn, None, &batch).await.unwrap();
    assert_eq!(stored, Stored::All { but: vec![run_of(&gone)] });
    assert_eq!(log(conn, &one).await, b"a\nb\n");
    assert_eq!(log(conn, &two).await, b"x\n");
    let place = runs::place(conn, run_of(&one)).await.unwrap().unwrap();
    assert_eq!((place.log_end, place.resume_ts, place.chunks), (4, Some(batch[2].resume_ts), 2));
    assert_eq!(logs::append(conn, None, &[]).await.unwrap(), all());
    // Somebody else has written there: nothing is stored twice.
    let late = logs::append(conn, None, &[append(&one, 2, b"b\n", &[])]).await.unwrap();
    assert_eq!(late, Stored::All { but: vec![run_of(&one)] });
    assert_eq!(log(conn, &one).await, b"a\nb\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_holder_writes_nothing() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = running(conn, "docpod").await;
    let epoch = leases::acquire(conn, "logs-1", "a", Duration::ZERO).await.unwrap().unwrap();
    let fence = Fence { name: "logs-1".to_owned(), epoch };
    assert_eq!(logs::append(conn, Some(&fence), &[append(&row, 0, b"mine\n", &[])]).await.unwrap(), all());
    leases::acquire(conn, "logs-1", "b", Duration::from_secs(60)).await.unwrap().unwrap();
    let late = [append(&row, 5, b"late\n", &[])];
    assert_eq!(logs::append(conn, Some(&fence), &late).await.unwrap(), Stored::Fenced);
    let unknown = Fence { name: "nobody".to_owned(), epoch: 1 };
    assert_eq!(logs::append(conn, Some(&unknown), &late).await.unwrap(), Stored::Fenced);
    assert_eq!(log(conn, &row).await, b"mine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ring_is_cut_at_a_line_and_small_chunks_are_merged() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = running(conn, "docpod").await;
    let line = |n: usize| format!("{n:0>99}\n");
    let lines = RING_BYTES / 100 + 5000;
    let all: String = (0..lines).map(line).collect();
    for part in all.as_bytes().chunks(64 * 1024) {
        write(conn, &row, part).await;
    }
    let whole = log(conn, &row).await;
    assert_eq!(whole, &all.as_bytes()[all.len() - RING_BYTES / 100 * 100..]);
    let dropped = logs::compact_and_trim(conn, run_of(&row)).await.unwrap();
    let outside = all.len() - RING_BYTES;
    assert!(dropped <= outside && dropped + 64 * 1024 > outside, "{dropped} of {outside}");
    assert_eq!(log(conn, &row).await, whole, "the reader sees no difference");
    assert!(chunks(conn, &row).await < CHUNKS_MAX as i64 / 4);

    for n in 0..600 {
        write(conn, &row, line(n)).await;
    }
    logs::compact_and_trim(conn, run_of(&row)).await.unwrap();
    let after = log(conn, &row).await;
    assert_eq!(&after[after.len() - 100..], line(599).as_bytes(), "order survives");
    assert_eq!(&after[..after.len() - 60_000], &whole[whole.len() - (after.len() - 60_000)..]);
    assert!(chunks(conn, &row).await < CHUNKS_MAX as i64 / 4);
}

async fn chunks(conn: &mut pods_db::Connection, row: &PodRow) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let query = diesel::sql_query("SELECT count(*) AS n FROM pod_log_chunks WHERE pod_uid = $1")
        .bind::<diesel::sql_types::Uuid, _>(row.uid);
    diesel_async::RunQueryDsl::get_result::<Count>(query, conn).await.unwrap().n
}

/// A chunk that is stored while a merge is under way stays the newest.
#[tokio::test(flavor = "multi_thread")]
async fn merging_keeps_the_order_of_what_is_written_meanwhile() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = running(conn, "docpod").await;
    for n in 0..200 {
        write(conn, &row, format!("{n}\n")).await;
    }
    let merge = async {
        let conn = &mut database.conn().await;
        for _ in 0..20 {
            logs::compact_and_trim(conn, run_of(&row)).await.unwrap();
        }
    };
    let write = async {
        for n in 200..400 {
            write(conn, &row, format!("{n}\n")).await;
        }
    };
    tokio::join!(merge, write);
    let expected: String = (0..400).map(|n| format!("{n}\n")).collect();
    let text = String::from_utf8(log(&mut *database.conn().await, &row).await).unwrap();
    assert_eq!(text, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_kept_until_the_next_run_begins() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = running(conn, "docpod").await;
    write(conn, &row, "first run\n").await;
    let row = done(conn, &row, Change::new(Event::Stop, now())).await;
    let row = done(conn, &row, Change::new(Event::ObjectsGone, now())).await;
    assert_eq!(log(conn, &row).await, b"first run\n");
    let row = done(conn, &row, Change::new(Event::Start, now())).await;
    assert_eq!(log(conn, &row).await, b"first run\n");
    let row = done(conn, &row, Change::new(Event::SpawnBegun, now())).await;
    assert_eq!(log(conn, &row).await, b"");
    let row = done(conn, &row, Change::new(Event::Running, now())).await;
    assert_eq!(log(conn, &row).await, b"");
    let kept = runs::list(conn, row.uid).await.unwrap();
    let shown: Vec<_> =
        kept.iter().map(|run| (run.run_index, run.stopped_at.is_some(), run.log_size_bytes)).collect();
    assert_eq!(shown, [(2, false, 0), (1, true, 10)]);
    assert!(kept[1].stopped_at >= Some(kept[1].started_at));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_found_by_lines_and_by_time() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = running(conn, "docpod").await;
    assert_eq!(part(conn, &row, Some(3), Some(0)).await, "");
    write_at(conn, &row, "one\ntwo\n", 0, &[(0, 1), (4, 2)]).await;
    write_at(conn, &row, "three\nfo", 0, &[(0, 3), (6, 4)]).await;
    let offset = runs::place(conn, run_of(&row)).await.unwrap().unwrap().log_end;
    let rest = Append { resume_ts: at(4), ..append(&row, offset, b"ur\n", &[]) };
    assert_eq!(logs::append(conn, None, &[rest]).await.unwrap(), all());
    write_at(conn, &row, "five\nsix", 0, &[(0, 5)]).await;
    for _ in 0..2 {
        let all = "one\ntwo\nthree\nfour\nfive\nsix";
        for lines in 0..8 {
            let tail: Vec<&str> = all.split_inclusive('\n').rev().take(lines).collect();
            let tail: String = tail.into_iter().rev().collect();
            assert_eq!(part(conn, &row, Some(lines as u64), None).await, tail, "{lines}");
        }
        assert_eq!(part(conn, &row, None, Some(0)).await, all);
        assert_eq!(part(conn, &row, None, Some(2)).await, "two\nthree\nfour\nfive\nsix");
        assert_eq!(part(conn, &row, None, Some(5)).await, "five\nsix");
        assert_eq!(
            part(conn, &row, None, Some(2_000_000_000)).await,
            "",
            "nothing is newer than the last line"
        );
        assert_eq!(part(conn, &row, Some(1), Some(2)).await, "six");
        assert_eq!(part(conn, &row, Some(9), Some(5)).await, "five\nsix");
        // Merged, everything is where it was.
        logs::compact_and_trim(conn, run_of(&row)).await.unwrap();
    }
    assert_eq!(chunks(conn, &row).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_where_it_was_and_sees_what_is_missing() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = running(conn, "docpod").await;
    write(conn, &row, "abc").await;
    write(conn, &row, "defg\n").await;
    write_at(conn, &row, "after\n", 1, &[]).await;
    let next = async |conn: &mut Connection, from, limit| {
        let piece = logs::next(conn, run_of(&row), from, limit).await.unwrap();
        piece.map(|piece| (piece.offset, String::from_utf8(piece.bytes).unwrap()))
    };
    let piece = |offset, text: &str| Some((offset, text.to_owned()));
    assert_eq!(next(conn, 0, 2).await, piece(0, "ab"));
    assert_eq!(next(conn, 2, 100).await, piece(2, "c"));
    logs::compact_and_trim(conn, run_of(&row)).await.unwrap();
    assert_eq!(chunks(conn, &row).await, 2, "what is apart is not merged");
    assert_eq!(next(conn, 5, 100).await, piece(5, "fg\n"));
    assert_eq!(next(conn, 8, 100).await, piece(9, "after\n"), "something was left out");
    assert_eq!(next(conn, 15, 100).await, None);
    assert_eq!(log(conn, &row).await, b"abcdefg\nafter\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn older_runs_are_archived_and_the_oldest_dropped() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let mut row = running(conn, "docpod").await;
    let other = running(conn, "other").await;
    let mut expected = Vec::new();
    for run in 1..=16_i64 {
        let text = format!("{run}\n\u{fffd} and more\n");
        write_at(conn, &row, &text, 0, &[(0, run), (text.len() as i64 - 13, run + 1)]).await;
        expected.push(text);
        settle(conn).await;
        if run < 16 {
            row = run_again(conn, &row).await;
        }
    }
    settle(conn).await;
    let kept = runs::list(conn, row.uid).await.unwrap();
    let indexes: Vec<i32> = kept.iter().map(|run| run.run_index).collect();
    assert_eq!(indexes, (4..=16).rev().collect::<Vec<_>>());
    for run in &kept {
        let text = &expected[usize::try_from(run.run_index).unwrap() - 1];
        assert_eq!(run.is_archived, run.run_index <= 13, "{run:?}");
        assert_eq!(run.log_size_bytes, text.len() as i64);
        let bytes = match archive::get(conn, run.run_id).await.unwrap() {
            Some(archive) => {
                let last = archive.read(Wanted { tail: Some(1), since: None }).unwrap();
                assert_eq!(last, "\u{fffd} and more\n".as_bytes());
                let since = Some(at(i64::from(run.run_index) + 1));
                assert_eq!(archive.read(Wanted { tail: None, since }).unwrap(), last);
                archive.read(Wanted::default()).unwrap()
            }
            None => logs::read(conn, run.run_id, Wanted::default()).await.unwrap(),
        };
        assert_eq!(bytes, text.as_bytes());
    }
    assert_eq!(chunks(conn, &row).await, 3, "an archive has no chunks");
    assert_eq!(runs::list(conn, other.uid).await.unwrap().len(), 1, "other pods are not touched");
    // A number is not used again.
    assert_eq!(runs::after(conn, row.uid, 0).await.unwrap().unwrap().run_index, 4);
}

/// What health does when a run begins.
async fn settle(conn: &mut Connection) {
    // One at a time, as if there were very many.
    while archive::drop_oldest(conn, None, 3, 1).await.unwrap() == 1 {}
    for run in archive::due(conn, None, 3, 100).await.unwrap() {
        let compressed = archive::compress(&archive::load(conn, run).await.unwrap()).unwrap();
        assert!(archive::store(conn, run, &compressed).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_while_a_run_is_archived_is_not_lost() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = running(conn, "docpod").await;
    write(conn, &row, b"early\n").await;
    let run = run_of(&row);
    diesel_async::RunQueryDsl::execute(diesel::sql_query("UPDATE pod_log_runs SET superseded = true"), conn)
        .await
        .unwrap();
    let early = archive::compress(&archive::load(conn, run).await.unwrap()).unwrap();
    write(conn, &row, b"late\n").await;
    assert!(!archive::store(conn, run, &early).await.unwrap(), "it does not hold everything");
    let all = archive::compress(&archive::load(conn, run).await.unwrap()).unwrap();
    assert!(archive::store(conn, run, &all).await.unwrap());
    let stored = archive::get(conn, run).await.unwrap().unwrap();
    assert_eq!(stored.read(Wanted::default()).unwrap(), b"early\nlate\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn action_logs_are_capped() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", false).await;
    let other = pod(conn, "other", false).await;
    for n in 0..LINES_MAX + 50 {
        action_logs::add(conn, row.uid, Utc::now(), &format!("line {n}")).await.unwrap();
    }
    action_logs::add(conn, row.uid, Utc::now(), &format!("nul \0 {}", "ä".repeat(2 * LINE_MAX)))
        .await
        .unwrap();
    let lines = action_logs::list(conn, row.uid).await.unwrap();
    assert_eq!(lines.len(), usize::try_from(LINES_MAX).unwrap());
    assert!(lines[0].ends_with(": line 51"), "{}", lines[0]);
    assert!(!lines[999].contains('\0') && lines[999].chars().count() < LINE_MAX + 30);
    assert_eq!(action_logs::list(conn, other.uid).await.unwrap().len(), 1, "other pods are not touched");
}
