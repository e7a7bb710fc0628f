//! Custom domains: which pods want which, and what DNS said about them.
//!
//! The rows of `custom_domains` come and go by trigger with what the pods name. A domain leads to a pod when the pod's
//! networking entry says `custom_domain_verified`; that is written here only, in one transaction with the row, so that
//! the unique index on verified rows keeps a domain with one pod.

use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    sql_types::{Array, BigInt, Bool, Text, Timestamptz, Uuid as UuidType},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use pods_core::domains::{Claim, Finding, Verdict};

use crate::{
    Connection, DbError, action_logs,
    columns::Word,
    constraints,
    schema::{custom_domains, pods},
};

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = custom_domains, check_for_backend(diesel::pg::Pg))]
struct StoredClaim {
    pod_uid: Uuid,
    domain: String,
    claimed_ts: DateTime<Utc>,
    verified_ts: Option<DateTime<Utc>>,
    failing_ts: Option<DateTime<Utc>>,
    finding: Option<Word<Finding>>,
    unanswered_ts: Option<DateTime<Utc>>,
    checked_ts: Option<DateTime<Utc>>,
}

/// A claim and when it was looked at last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownClaim {
    /// What is known.
    pub claim: Claim,
    /// The last look.
    pub checked: Option<DateTime<Utc>>,
}

impl From<StoredClaim> for KnownClaim {
    fn from(stored: StoredClaim) -> Self {
        let claim = Claim {
            pod_uid: stored.pod_uid,
            domain: stored.domain,
            claimed: stored.claimed_ts,
            verified: stored.verified_ts,
            failing: stored.failing_ts,
            finding: stored.finding.map(|word| word.0),
            unanswered: stored.unanswered_ts,
        };
        Self { claim, checked: stored.checked_ts }
    }
}

/// Domains that are looked at apart from the others, so that they cannot keep them waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// They lead to a pod.
    Held,
    /// They lead nowhere yet.
    Wanted,
    /// DNS did not answer the last time.
    Silent,
}

/// Which domains are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Due<'a> {
    /// The site whose pods want them.
    pub site_id: &'a str,
    /// Only these.
    pub lane: Lane,
    /// Those whose next look is not after this moment.
    pub now: DateTime<Utc>,
    /// Not these.
    pub without: &'a [String],
    /// So many at most.
    pub limit: usize,
}

/// Domains that somebody should look at. Users take turns: whoever has many of them waits for them, nobody else does.
pub async fn due(conn: &mut Connection, due: &Due<'_>) -> Result<Vec<String>, DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        domain: String,
    }
    let (silent, held) = match due.lane {
        Lane::Held => (false, true),
        Lane::Wanted => (false, false),
        Lane::Silent => (true, false),
    };
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT domain FROM ( \
           SELECT domain, next_check_ts, row_number() OVER ( \
             PARTITION BY pods.tenant_id, pods.created_by ORDER BY next_check_ts) AS turn \
           FROM custom_domains JOIN pods ON pods.uid = pod_uid \
           WHERE pods.site_id = $1 AND next_check_ts <= $2 AND domain <> ALL ($3) \
             AND (unanswered_ts IS NOT NULL) = $4 AND ($4 OR (verified_ts IS NOT NULL) = $5)) AS waiting \
         GROUP BY domain ORDER BY min(turn), min(next_check_ts) LIMIT $6",
    )
    .bind::<Text, _>(due.site_id)
    .bind::<Timestamptz, _>(due.now)
    .bind::<Array<Text>, _>(due.without)
    .bind::<Bool, _>(silent)
    .bind::<Bool, _>(held)
    .bind::<BigInt, _>(i64::try_from(due.limit).unwrap_or(i64::MAX))
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.domain).collect())
}

/// Everybody who wants a domain.
pub async fn claims(conn: &mut Connection, domain: &str) -> Result<Vec<KnownClaim>, DbError> {
    let found: Vec<StoredClaim> = custom_domains::table
        .filter(custom_domains::domain.eq(domain))
        .select(StoredClaim::as_select())
        .load(conn)
        .await?;
    Ok(found.into_iter().map(KnownClaim::from).collect())
}

/// The domains that a pod wants, by name.
pub async fn of_pod(conn: &mut Connection, pod_uid: Uuid) -> Result<Vec<Claim>, DbError> {
    let found: Vec<StoredClaim> = custom_domains::table
        .filter(custom_domains::pod_uid.eq(pod_uid))
        .order(custom_domains::domain)
        .select(StoredClaim::as_select())
        .load(conn)
        .await?;
    Ok(found.into_iter().map(|stored| KnownClaim::from(stored).claim).collect())
}

/// The hosts of the tenants that have pods.
pub async fn tenant_hosts(conn: &mut Connection) -> Result<Vec<String>, DbError> {
    pods::table.filter(pods::deleted_at.is_null()).select(pods::tenant_host).distinct().load(conn).await
}

/// Stores what became of a claim, with its line in the action log. False when the claim has moved on since it was read:
/// then nothing was written, and another look decides anew.
pub async fn record(
    conn: &mut Connection,
    before: &KnownClaim,
    verdict: &Verdict,
    now: DateTime<Utc>,
) -> Result<bool, DbError> {
    let result = conn
        .transaction(async |conn| {
            // The pod before its claims: in this order a change by its users locks them too.
            if verdict.turns(&before.claim) && !lead(conn, verdict).await? {
                return Err(DbError::RollbackTransaction);
            }
            if !store(conn, before, verdict, now).await? {
                return Err(DbError::RollbackTransaction);
            }
            if let Some(text) = &verdict.log {
                action_logs::add(conn, verdict.after.pod_uid, now, text).await?;
            }
            Ok(())
        })
        .await;
    match result {
        Ok(()) => Ok(true),
        Err(DbError::RollbackTransaction) => Ok(false),
        // Another replica was quicker.
        Err(error) if constraints::is_taken(&error, &["custom_domains_verified"]) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn store(
    conn: &mut Connection,
    before: &KnownClaim,
    verdict: &Verdict,
    now: DateTime<Utc>,
) -> Result<bool, DbError> {
    let after = &verdict.after;
    let count = diesel::update(custom_domains::table.find((after.pod_uid, &after.domain)))
        .filter(custom_domains::claimed_ts.eq(before.claim.claimed))
        .filter(custom_domains::checked_ts.is_not_distinct_from(before.checked))
        .set((
            custom_domains::verified_ts.eq(after.verified),
            custom_domains::failing_ts.eq(after.failing),
            custom_domains::finding.eq(after.finding.map(Finding::as_str)),
            custom_domains::unanswered_ts.eq(after.unanswered),
            custom_domains::checked_ts.eq(now),
            custom_domains::next_check_ts.eq(verdict.next_look),
        ))
        .execute(conn)
        .await?;
    Ok(count == 1)
}

/// Says in the pod's networking whether the domain leads to it; the change feed hears of it by trigger.
async fn lead(conn: &mut Connection, verdict: &Verdict) -> Result<bool, DbError> {
    let count = diesel::sql_query(
        "UPDATE pods SET revision = revision + 1, networking = ( \
           SELECT jsonb_object_agg(name, CASE \
             WHEN entry ->> 'custom_domain' = $2 AND entry ->> 'protocol' = 'http' \
             THEN jsonb_set(entry, '{custom_domain_verified}', to_jsonb($3)) ELSE entry END) \
           FROM jsonb_each(networking) AS entries (name, entry)) \
         WHERE uid = $1 AND deleted_at IS NULL AND EXISTS ( \
           SELECT FROM jsonb_each(networking) AS entries (name, entry) \
           WHERE entry ->> 'custom_domain' = $2 AND entry ->> 'protocol' = 'http')",
    )
    .bind::<UuidType, _>(verdict.after.pod_uid)
    .bind::<Text, _>(&verdict.after.domain)
    .bind::<Bool, _>(verdict.after.verified.is_some())
    .execute(conn)
    .await?;
    Ok(count == 1)
}
