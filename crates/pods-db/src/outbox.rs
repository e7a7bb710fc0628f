//! Wake-ups for the spawner: written in the transaction that makes them necessary, published afterwards.
//!
//! A row is published at least once; the message id lets the broker drop a copy that was published just before a
//! crash. There is no cursor: what has no `published_at` is still to be published, whatever its id.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Integer, Timestamptz},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures::{StreamExt, stream::FuturesUnordered};
use pods_telemetry::trace;
use tracing::{Span, field::Empty};
use uuid::Uuid;

use crate::{Connection, DbError, schema::outbox};

/// The channel that is notified when a row is added.
pub const CHANNEL: &str = "pods_outbox";

/// A wake-up that is to be published.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct OutboxRow {
    /// Order of writing.
    pub id: i64,
    /// `Nats-Msg-Id` of the message.
    pub message_id: Uuid,
    /// The pod to look at.
    pub pod_uid: Uuid,
    /// Why, in a stable word for logs.
    pub reason: String,
    /// When it was written.
    pub created_ts: DateTime<Utc>,
    /// The trace context of what made it necessary.
    pub traceparent: Option<String>,
}

impl OutboxRow {
    /// A span for publishing it, which goes on with the trace that wrote it.
    pub fn span(&self) -> Span {
        let span = tracing::debug_span!(
            "publish", otel.kind = "producer", pod.uid = %self.pod_uid, reason = self.reason, trace.id = Empty
        );
        trace::adopt(&span, self.traceparent.as_deref());
        span
    }
}

/// What waits to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Waiting {
    /// How many rows; counted up to [`COUNTED`].
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub rows: i64,
    /// When the oldest was written.
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Timestamptz>)]
    pub oldest: Option<DateTime<Utc>>,
}

/// Waiting rows beyond this are not counted.
pub const COUNTED: i64 = 100_000;

/// What waits to be published now.
pub async fn waiting(conn: &mut Connection) -> Result<Waiting, DbError> {
    diesel::sql_query(
        "SELECT count(*) AS rows, min(created_ts) AS oldest \
         FROM (SELECT created_ts FROM outbox WHERE published_at IS NULL LIMIT $1) AS waiting",
    )
    .bind::<diesel::sql_types::BigInt, _>(COUNTED)
    .get_result(conn)
    .await
}

/// Adds the same wake-up for many pods.
pub async fn add_all(conn: &mut Connection, pods: &[Uuid], reason: &str) -> Result<(), DbError> {
    let traceparent = trace::current();
    let row = |uid: &Uuid| {
        (outbox::pod_uid.eq(*uid), outbox::reason.eq(reason), outbox::traceparent.eq(&traceparent))
    };
    let rows: Vec<_> = pods.iter().map(row).collect();
    // A statement has room for 65535 values.
    for rows in rows.chunks(1000) {
        diesel::insert_into(outbox::table).values(rows).execute(conn).await?;
    }
    Ok(())
}

/// Adds a wake-up; call it inside of the transaction that makes it necessary.
pub async fn add(conn: &mut Connection, pod_uid: Uuid, reason: &str) -> Result<(), DbError> {
    insert(conn, pod_uid, reason).await
}

/// The same on a shared connection, so that it can travel together with other statements.
pub(crate) async fn insert(mut conn: &Connection, pod_uid: Uuid, reason: &str) -> Result<(), DbError> {
    diesel::insert_into(outbox::table)
        .values((
            outbox::pod_uid.eq(pod_uid),
            outbox::reason.eq(reason),
            outbox::traceparent.eq(trace::current()),
        ))
        .execute(&mut conn)
        .await?;
    Ok(())
}

/// How long one batch may be on its way to the broker. What it has not acknowledged by then is published again.
const PUBLISH_LIMIT: Duration = Duration::from_secs(3);
/// The kind of the advisory locks below; the uids of pods are locked with keys of another form.
const LOCK_CLASS: i32 = 0x0b0c;

#[derive(QueryableByName)]
struct Claimed {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Publishes up to `limit` waiting rows at once and marks those that were acknowledged. Any number of relays may
/// run: each takes rows that no other holds. Answers how many were published and how many waited.
///
/// The rows are held by advisory locks. Locked as rows they would give the transaction a number, and nobody reads the
/// change feed beyond the oldest number that is at work: a slow broker would hold back every status.
///
/// # Errors
/// A database error. A row that could not be published stays and is counted as waiting.
pub async fn relay_once<F, Fut>(conn: &mut Connection, limit: i64, publish: F) -> Result<Relayed, DbError>
where
    F: Fn(OutboxRow) -> Fut + Send + Sync,
    Fut: Future<Output = bool> + Send,
{
    let publish = &publish;
    conn.transaction(async move |conn| {
        let rows = claim(conn, limit).await?;
        let found = rows.len();
        let attempts = rows.into_iter().map(|row| {
            let id = row.id;
            let attempt = publish(row);
            async move { attempt.await.then_some(id) }
        });
        let mut attempts: FuturesUnordered<_> = attempts.collect();
        let mut published: Vec<i64> = Vec::new();
        let publishing = async {
            while let Some(acknowledged) = attempts.next().await {
                published.extend(acknowledged);
            }
        };
        let _late = tokio::time::timeout(PUBLISH_LIMIT, publishing).await;
        if !published.is_empty() {
            diesel::update(outbox::table.filter(outbox::id.eq_any(&published)))
                .set(outbox::published_at.eq(diesel::dsl::now))
                .execute(conn)
                .await?;
        }
        Ok(Relayed {
            published: published.len(),
            failed: found - published.len(),
            more: found as i64 == limit,
        })
    })
    .await
}

/// Waiting rows that are nobody else's until the end of the transaction.
async fn claim(conn: &mut Connection, limit: i64) -> Result<Vec<OutboxRow>, DbError> {
    // A key is the end of the id: two rows with the same one are published one after the other. Rows of other relays
    // are passed over, those of up to seven full batches.
    let claimed: Vec<Claimed> = diesel::sql_query(
        "WITH waiting AS MATERIALIZED ( \
           SELECT id FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT $1 * 8) \
         SELECT id FROM waiting WHERE pg_try_advisory_xact_lock($2, (id & 2147483647)::integer) LIMIT $1",
    )
    .bind::<BigInt, _>(limit)
    .bind::<Integer, _>(LOCK_CLASS)
    .load(conn)
    .await?;
    if claimed.is_empty() {
        return Ok(Vec::new());
    }
    // Read once more: another relay may have published a row, and let go of it, before it was locked.
    outbox::table
        .filter(outbox::id.eq_any(claimed.into_iter().map(|row| row.id)))
        .filter(outbox::published_at.is_null())
        .order(outbox::id)
        .select((
            outbox::id,
            outbox::message_id,
            outbox::pod_uid,
            outbox::reason,
            outbox::created_ts,
            outbox::traceparent,
        ))
        .load(conn)
        .await
}

/// What a call of [`relay_once`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// Rows that the broker acknowledged.
    pub published: usize,
    /// Rows that it did not.
    pub failed: usize,
    /// Whether there may be more rows than the limit allowed.
    pub more: bool,
}

/// The most rows that one call of [`prune`] removes.
const PRUNED_AT_ONCE: i64 = 5000;

/// Removes rows that were published before `before`, some thousands of them. Answers how many; call it again until
/// there are none.
pub async fn prune(conn: &mut Connection, before: DateTime<Utc>) -> Result<usize, DbError> {
    diesel::sql_query(
        "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE published_at < $1 ORDER BY published_at LIMIT $2)",
    )
    .bind::<Timestamptz, _>(before)
    .bind::<BigInt, _>(PRUNED_AT_ONCE)
    .execute(conn)
    .await
}
