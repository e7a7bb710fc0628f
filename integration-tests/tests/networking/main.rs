//! The networking of pods over real wires: every example of the user guide's chapter, with the clients that it names.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod access;
mod cors;
mod databases;
mod entries;
mod guide;

use integration_tests::Scene;
use serde_json::Value;

/// Creates a pod of alice's with an id of its own and returns the id once its container runs.
async fn start(scene: &Scene, prefix: &str, mut body: Value) -> String {
    let id = scene.id(prefix);
    body["pod_id"] = id.clone().into();
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    id
}
