//! The few things that neither the API nor Kubernetes tells: read from the services' database.

use std::{collections::BTreeMap, time::SystemTime};

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

/// Moves the deadline of a running pod of the tenant `dev` to the present: the shortest time to stop that users may
/// choose takes minutes.
pub async fn expire(env: &Env, pod_id: &str) {
    let client = connect(env).await;
    let sql = "UPDATE pods SET time_to_stop_ts = now() WHERE tenant_id = 'dev' AND pod_id = $1 AND deleted_at IS NULL";
    let moved = client.execute(sql, &[&pod_id]).await.expect("the deadline can be moved");
    assert_eq!(moved, 1, "the pod {pod_id} has a row");
}

/// Moves a pod of the tenant `dev` to another compute queue, one that the API might not let it have.
pub async fn set_queue(env: &Env, pod_id: &str, queue: &str) {
    let client = connect(env).await;
    let sql =
        "UPDATE pods SET compute_queue = $2 WHERE tenant_id = 'dev' AND pod_id = $1 AND deleted_at IS NULL";
    let moved = client.execute(sql, &[&pod_id, &queue]).await.expect("the queue can be changed");
    assert_eq!(moved, 1, "the pod {pod_id} has a row");
}

/// Which shares of the pods each replica of health holds at present, by the replica.
pub async fn shares(env: &Env) -> BTreeMap<String, Vec<usize>> {
    let client = connect(env).await;
    let sql = "SELECT holder, name FROM leases WHERE name LIKE 'health/%/shard-%' AND expires_ts > now() ORDER BY name";
    let mut shares: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for row in client.query(sql, &[]).await.expect("the leases can be read") {
        let (holder, name): (String, String) = (row.get(0), row.get(1));
        let share = name.rsplit_once("shard-").and_then(|(_, number)| number.parse::<usize>().ok());
        shares.entry(holder).or_default().extend(share);
    }
    shares
}

/// The status of a pod as it was written last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The row.
    pub uid: Uuid,
    /// The status.
    pub status: String,
    /// When the status changed, by the clock of whoever wrote it.
    pub changed: SystemTime,
}

/// The status of the live row with this id in the tenant `dev`.
pub async fn status_of(env: &Env, pod_id: &str) -> Written {
    let client = connect(env).await;
    let sql = "SELECT uid::text, status, status_changed_ts FROM pods \
               WHERE tenant_id = 'dev' AND pod_id = $1 AND deleted_at IS NULL";
    let row = client.query_one(sql, &[&pod_id]).await.expect("the pod has a row");
    let uid = row.get::<_, String>(0).parse().expect("a uid is a uuid");
    Written { uid, status: row.get(1), changed: row.get(2) }
}

/// Sets a field of a networking entry of a pod of the tenant `dev` to some JSON, also to what the API would refuse.
pub async fn set_networking(env: &Env, pod_id: &str, entry: &str, field: &str, json: &str) {
    let client = connect(env).await;
    let path = format!("{{{entry},{field}}}");
    let sql = "UPDATE pods SET networking = jsonb_set(networking, $2::text::text[], $3::text::jsonb) \
               WHERE tenant_id = 'dev' AND pod_id = $1 AND deleted_at IS NULL";
    let set = client.execute(sql, &[&pod_id, &path, &json]).await.expect("the networking can be changed");
    assert_eq!(set, 1, "the pod {pod_id} has a row");
}
