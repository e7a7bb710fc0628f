//! Applies the embedded migrations.

use anyhow::Context;
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");
/// Two migrators at once wait for each other here ("pods" in ASCII).
const LOCK: i64 = 0x706f_6473;

/// Brings the database up to date and answers the names of the migrations that were applied. Needs a multi-thread
/// runtime.
///
/// # Errors
/// When Postgres cannot be reached or a migration fails; the failing one is rolled back.
pub async fn run(url: &str) -> anyhow::Result<Vec<String>> {
    let mut guard = AsyncPgConnection::establish(url).await.context("cannot connect to the database")?;
    diesel::sql_query("SELECT pg_advisory_lock($1)")
        .bind::<diesel::sql_types::BigInt, _>(LOCK)
        .execute(&mut guard)
        .await?;
    let connection = AsyncPgConnection::establish(url).await.context("cannot connect to the database")?;
    let applied = tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        harness
            .run_pending_migrations(MIGRATIONS)
            .map(|versions| versions.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(|error| anyhow::anyhow!("a migration failed: {error}"))
    })
    .await??;
    Ok(applied)
}
