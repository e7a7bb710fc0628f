//! The few things that neither the API nor Kubernetes tells: read from the services' database.

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::env::Env;

async fn connect(env: &Env) -> Client {
    let (client, connection) = tokio_postgres::connect(&env.database_url, NoTls)
        .await
        .expect("the database of the environment answers");
    tokio::spawn(connection);
    client
}

/// The uid of the live row with this id in the tenant `dev`.
pub async fn uid_of(env: &Env, pod_id: &str) -> Uuid {
    let client = connect(env).await;
    let sql = "SELECT uid::text FROM pods WHERE tenant_id = 'dev' AND pod_id = $1 AND deleted_at IS NULL";
    let row = client.query_one(sql, &[&pod_id]).await.expect("the pod has a row");
    row.get::<_, String>(0).parse().expect("a uid is a uuid")
}
