//! The action log of a pod: append-only, capped.

use chrono::{DateTime, Utc};
use diesel::{prelude::*, sql_types};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use pods_core::action_log::{LINE_MAX, LINES_MAX, line};

use crate::{Connection, DbError, schema::action_logs};

/// Every how many lines (of all pods) the oldest lines of the pod at hand are dropped.
const TRIM_EVERY: i64 = 16;

/// Appends a line (without date) to the log of a pod, unless it says the same as the newest one.
pub async fn add(conn: &mut Connection, pod_uid: Uuid, at: DateTime<Utc>, text: &str) -> Result<(), DbError> {
    insert(conn, pod_uid, at, text).await
}

/// The same on a shared connection, so that it can travel together with other statements.
pub(crate) async fn insert(
    mut conn: &Connection,
    pod_uid: Uuid,
    at: DateTime<Utc>,
    text: &str,
) -> Result<(), DbError> {
    let text: String = text.chars().filter(|c| *c != '\0').take(LINE_MAX).collect();
    let lines = diesel::alias!(action_logs as lines);
    let newest = lines
        .filter(lines.field(action_logs::pod_uid).eq(pod_uid))
        .order(lines.field(action_logs::id).desc())
        .limit(1)
        .select(lines.field(action_logs::text))
        .single_value();
    let line = diesel::select((
        pod_uid.into_sql::<sql_types::Uuid>(),
        at.into_sql::<sql_types::Timestamptz>(),
        text.clone().into_sql::<sql_types::Text>(),
    ))
    .filter(newest.is_distinct_from(Some(text)));
    let id: Option<i64> = diesel::insert_into(action_logs::table)
        .values(line)
        .into_columns((action_logs::pod_uid, action_logs::at, action_logs::text))
        .returning(action_logs::id)
        .get_result(&mut conn)
        .await
        .optional()?;
    if id.is_some_and(|id| id % TRIM_EVERY == 0) {
        trim(conn, pod_uid).await?;
    }
    Ok(())
}

async fn trim(mut conn: &Connection, pod_uid: Uuid) -> Result<(), DbError> {
    let oldest_kept: Option<i64> = action_logs::table
        .filter(action_logs::pod_uid.eq(pod_uid))
        .order(action_logs::id.desc())
        .offset(LINES_MAX - 1)
        .select(action_logs::id)
        .first(&mut conn)
        .await
        .optional()?;
    if let Some(oldest_kept) = oldest_kept {
        diesel::delete(
            action_logs::table
                .filter(action_logs::pod_uid.eq(pod_uid))
                .filter(action_logs::id.lt(oldest_kept)),
        )
        .execute(&mut conn)
        .await?;
    }
    Ok(())
}

/// The lines of a pod as users see them, oldest first.
pub async fn list(conn: &mut Connection, pod_uid: Uuid) -> Result<Vec<String>, DbError> {
    let mut rows: Vec<(DateTime<Utc>, String)> = action_logs::table
        .filter(action_logs::pod_uid.eq(pod_uid))
        .order(action_logs::id.desc())
        .limit(LINES_MAX)
        .select((action_logs::at, action_logs::text))
        .load(conn)
        .await?;
    rows.reverse();
    Ok(rows.into_iter().map(|(at, text)| line(at, &text)).collect())
}
