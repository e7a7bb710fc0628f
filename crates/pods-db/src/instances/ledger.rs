//! How far each start came, and how it ended.

use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    sql_types::{Array, Bytea, Integer, Nullable, Text, Timestamptz, Uuid as UuidType},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use pods_core::{
    phases::{Phase, Phases},
    reason::{Reason, StatusContainer},
};

use crate::{Connection, DbError, columns::Word, schema::pod_instances};

diesel::define_sql_function! {
    #[sql_name = "coalesce"]
    fn first_of(first: Nullable<Timestamptz>, second: Nullable<Timestamptz>) -> Nullable<Timestamptz>;
}

/// How far a start came, and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    /// Identifies the start.
    pub instance_id: Uuid,
    /// The phases that it reached.
    pub phases: Phases,
    /// Its end, if it is over.
    pub end: Option<End>,
}

/// How a start ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// When that was noted.
    pub at: DateTime<Utc>,
    /// The cause.
    pub code: Option<Reason>,
    /// The cause in words.
    pub message: String,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = pod_instances, check_for_backend(diesel::pg::Pg))]
struct StoredPhases {
    created_ts: DateTime<Utc>,
    taken_ts: Option<DateTime<Utc>>,
    objects_ts: Option<DateTime<Utc>>,
    scheduled_ts: Option<DateTime<Utc>>,
    pulled_ts: Option<DateTime<Utc>>,
    container_ts: Option<DateTime<Utc>>,
    ready_ts: Option<DateTime<Utc>>,
    routed_ts: Option<DateTime<Utc>>,
}

impl From<StoredPhases> for Phases {
    fn from(stored: StoredPhases) -> Self {
        let mut phases = Phases::at(Phase::Accepted, stored.created_ts);
        for (phase, at) in [
            (Phase::Taken, stored.taken_ts),
            (Phase::Created, stored.objects_ts),
            (Phase::Scheduled, stored.scheduled_ts),
            (Phase::Pulled, stored.pulled_ts),
            (Phase::Started, stored.container_ts),
            (Phase::Ready, stored.ready_ts),
            (Phase::Routed, stored.routed_ts),
        ] {
            phases.note(phase, at);
        }
        phases
    }
}

/// Notes the phases that a start has reached; what was noted before stays. Writes nothing when nothing is new, and
/// says whether something was. The acceptance is noted when a start is stored.
pub async fn note_phases(conn: &mut Connection, instance_id: Uuid, phases: &Phases) -> Result<bool, DbError> {
    note(conn, instance_id, phases).await
}

/// The same on a shared connection, so that it can travel together with other statements.
pub(crate) async fn note(mut conn: &Connection, instance_id: Uuid, phases: &Phases) -> Result<bool, DbError> {
    use pod_instances as i;
    let [taken, created, scheduled, pulled, started, ready, routed] = [
        Phase::Taken,
        Phase::Created,
        Phase::Scheduled,
        Phase::Pulled,
        Phase::Started,
        Phase::Ready,
        Phase::Routed,
    ]
    .map(|phase| phases.get(phase));
    let news = first_of(i::taken_ts, taken)
        .is_distinct_from(i::taken_ts)
        .or(first_of(i::objects_ts, created).is_distinct_from(i::objects_ts))
        .or(first_of(i::scheduled_ts, scheduled).is_distinct_from(i::scheduled_ts))
        .or(first_of(i::pulled_ts, pulled).is_distinct_from(i::pulled_ts))
        .or(first_of(i::container_ts, started).is_distinct_from(i::container_ts))
        .or(first_of(i::ready_ts, ready).is_distinct_from(i::ready_ts))
        .or(first_of(i::routed_ts, routed).is_distinct_from(i::routed_ts));
    let count = diesel::update(i::table.filter(i::instance_id.eq(instance_id)).filter(news))
        .set((
            i::taken_ts.eq(first_of(i::taken_ts, taken)),
            i::objects_ts.eq(first_of(i::objects_ts, created)),
            i::scheduled_ts.eq(first_of(i::scheduled_ts, scheduled)),
            i::pulled_ts.eq(first_of(i::pulled_ts, pulled)),
            i::container_ts.eq(first_of(i::container_ts, started)),
            i::ready_ts.eq(first_of(i::ready_ts, ready)),
            i::routed_ts.eq(first_of(i::routed_ts, routed)),
        ))
        .execute(&mut conn)
        .await?;
    Ok(count > 0)
}

/// A start to which the proxy knows the way.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Routed {
    /// When the start was accepted.
    #[diesel(sql_type = Timestamptz)]
    pub accepted: DateTime<Utc>,
    /// The pod's template; empty for a pod without one.
    #[diesel(sql_type = Text)]
    pub template: String,
}

/// Notes that the proxy knows the way to these starts, in one statement for all of them, and answers those of which it
/// was not noted before. The instance is the row's one at this moment, and only a start that runs is noted.
pub async fn note_routed(
    conn: &mut Connection,
    pods: &[Uuid],
    at: DateTime<Utc>,
) -> Result<Vec<Routed>, DbError> {
    diesel::sql_query(
        "UPDATE pod_instances AS i SET routed_ts = $2 FROM pods AS p \
         WHERE p.uid = ANY($1) AND i.instance_id = p.instance_id AND p.status = 'AVAILABLE' \
         AND i.routed_ts IS NULL AND p.start_instance_ts <= $2 \
         RETURNING i.created_ts AS accepted, coalesce(p.template, '') AS template",
    )
    .bind::<Array<UuidType>, _>(pods)
    .bind::<Timestamptz, _>(at)
    .load(conn)
    .await
}

/// Notes how a start ended, on a shared connection. The first end stays: a pod that failed and is stopped then has
/// failed.
pub(crate) async fn note_end(
    mut conn: &Connection,
    instance_id: Uuid,
    at: DateTime<Utc>,
    because: &StatusContainer,
) -> Result<(), DbError> {
    use pod_instances as i;
    diesel::update(i::table.filter(i::instance_id.eq(instance_id)).filter(i::ended_ts.is_null()))
        .set((
            i::ended_ts.eq(at),
            i::end_code.eq(because.code.map(Word)),
            i::end_message.eq(because.message.as_deref()),
        ))
        .execute(&mut conn)
        .await?;
    Ok(())
}

/// The phases of one start.
pub async fn phases(conn: &mut Connection, instance_id: Uuid) -> Result<Option<Phases>, DbError> {
    let found = pod_instances::table
        .find(instance_id)
        .select(StoredPhases::as_select())
        .first(conn)
        .await
        .optional()?;
    Ok(found.map(Phases::from))
}

/// The newest starts of a pod, the newest first.
pub async fn ledger(conn: &mut Connection, pod_uid: Uuid, limit: i64) -> Result<Vec<Ledger>, DbError> {
    type Found = (Uuid, StoredPhases, Option<DateTime<Utc>>, Option<String>, Option<String>);
    use pod_instances as i;
    let found: Vec<Found> = i::table
        .filter(i::pod_uid.eq(pod_uid))
        .order(i::created_ts.desc())
        .limit(limit)
        .select((i::instance_id, StoredPhases::as_select(), i::ended_ts, i::end_code, i::end_message))
        .load(conn)
        .await?;
    let start = |(instance_id, phases, ended, code, message): Found| Ledger {
        instance_id,
        phases: phases.into(),
        end: ended.map(|at| End {
            at,
            // A code of a newer release is none that this one knows.
            code: code.and_then(|code| code.parse().ok()),
            message: message.unwrap_or_default(),
        }),
    };
    Ok(found.into_iter().map(start).collect())
}

/// The newest bytes of what is stored of a start's log, at most `limit`; `None` when nothing is.
pub async fn last_log_bytes(
    conn: &mut Connection,
    instance_id: Uuid,
    limit: i32,
) -> Result<Option<Vec<u8>>, DbError> {
    #[derive(QueryableByName)]
    struct Tail {
        #[diesel(sql_type = Bytea)]
        tail: Vec<u8>,
    }
    let found: Option<Tail> = diesel::sql_query(
        "SELECT substring(content FROM greatest(octet_length(content) - $2 + 1, 1)) AS tail FROM pod_log_chunks \
         WHERE instance_id = $1 ORDER BY id DESC LIMIT 1",
    )
    .bind::<UuidType, _>(instance_id)
    .bind::<Integer, _>(limit)
    .get_result(conn)
    .await
    .optional()?;
    Ok(found.map(|found| found.tail))
}
