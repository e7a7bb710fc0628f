//! Logins that came back from the platform: what they were begun with counts once. Only logins that somebody completed
//! are written down, so nobody fills the table by beginning some.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Binary, Bool, Timestamptz};
use diesel_async::RunQueryDsl;

use crate::{Connection, DbError};

/// Whether a login was completed with this state before.
pub async fn is_used(conn: &mut Connection, hash: &[u8]) -> Result<bool, DbError> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        used: bool,
    }
    let row: Row =
        diesel::sql_query("SELECT EXISTS (SELECT 1 FROM login_states_used WHERE state_hash = $1) AS used")
            .bind::<Binary, _>(hash)
            .get_result(conn)
            .await?;
    Ok(row.used)
}

/// Uses a state up that is good until `expires`; `false` when it was used before.
pub async fn use_up(conn: &mut Connection, hash: &[u8], expires: DateTime<Utc>) -> Result<bool, DbError> {
    let count = diesel::sql_query(
        "INSERT INTO login_states_used (state_hash, expires_ts) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind::<Binary, _>(hash)
    .bind::<Timestamptz, _>(expires)
    .execute(conn)
    .await?;
    Ok(count == 1)
}
