//! What most tests begin with: callers, a cluster, ids nobody else uses, and cleaning up.

use std::sync::Mutex;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    api::{Answer, Caller},
    cluster::Cluster,
    env::{Env, TokenWish},
    visit::Visitor,
    wait::{LIMIT, await_condition},
};

/// The image that serves a page on port 5000.
pub const HTTPD: &str = "busyhttpd";
/// The image with a shell.
pub const BUSYBOX: &str = "busybox";
/// The image with Python, for servers that are scripts.
pub const PYTHON: &str = "python";
/// The image with PostgreSQL.
pub const POSTGRES: &str = "postgres";

/// A test's view of the system. Pods that it made are deleted when it is dropped.
pub struct Scene {
    /// The environment.
    pub env: Env,
    /// A user of the tenant `dev`.
    pub alice: Caller,
    /// Another one.
    pub bob: Caller,
    /// One who holds the role `pods_admin`.
    pub admin: Caller,
    /// Kubernetes.
    pub cluster: Cluster,
    /// Somebody with a browser.
    pub visitor: Visitor,
    made: Mutex<Vec<(Caller, String)>>,
}

impl Scene {
    /// Looks at the running environment.
    pub async fn new() -> Self {
        let env = Env::load();
        let caller = |user: &str| {
            let token = env.token(TokenWish { user, ..TokenWish::default() });
            Caller::new(user, &env.base_url, token)
        };
        let (alice, bob, admin) = (caller("alice"), caller("bob"), caller("root"));
        let cluster = Cluster::connect(&env).await;
        let visitor = Visitor::new(&env);
        Self { alice, bob, admin, cluster, visitor, env, made: Mutex::default() }
    }

    /// An id that no other test uses.
    pub fn id(&self, prefix: &str) -> String {
        let random = Uuid::new_v4().simple().to_string();
        format!("{prefix}{}", &random[..10])
    }

    /// Asks for a pod, whatever the answer; it is deleted in the end.
    pub async fn try_create(&self, caller: &Caller, body: Value) -> Answer {
        if let Some(id) = body["pod_id"].as_str() {
            self.will_delete(caller, id);
        }
        caller.post("/v3/pods", body).await
    }

    /// Creates a pod.
    pub async fn create(&self, caller: &Caller, body: Value) -> Value {
        self.try_create(caller, body).await.result()
    }

    /// Creates a pod of alice's that serves a page and returns its id.
    pub async fn httpd(&self, prefix: &str) -> String {
        let id = self.id(prefix);
        self.create(&self.alice, json!({ "pod_id": id, "image": HTTPD })).await;
        id
    }

    /// Creates a pod of alice's that runs a shell script and returns its id.
    pub async fn shell(&self, prefix: &str, script: &str) -> String {
        let id = self.id(prefix);
        let body = json!({ "pod_id": id, "image": BUSYBOX, "command": ["sh", "-c", script] });
        self.create(&self.alice, body).await;
        id
    }

    /// A pod of alice's that no node has room for. Larger machines are filled first.
    pub async fn too_large(&self, prefix: &str) -> String {
        let mut ids = Vec::new();
        for _ in 0..=self.cluster.room_for_cores(6).await {
            let id = self.id(prefix);
            let resources = json!({ "cpu_request": 6000, "cpu_limit": 6000 });
            let body = json!({ "pod_id": id, "image": HTTPD, "description": "a secret plan", "resources": resources });
            self.create(&self.alice, body).await;
            ids.push(id);
        }
        await_condition("a pod has no room", LIMIT, || async {
            for id in &ids {
                let pod = self.alice.pod(id).await;
                if pod["status_container"]["code"] == "unschedulable" {
                    return Ok(id.clone());
                }
            }
            Err("all may still find a place".to_owned())
        })
        .await
    }

    /// Has a pod deleted in the end.
    pub fn will_delete(&self, caller: &Caller, pod_id: &str) {
        let entry = (caller.clone(), pod_id.to_owned());
        self.made.lock().expect("nobody panics with the lock").push(entry);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let made = std::mem::take(&mut *self.made.lock().expect("nobody panics with the lock"));
        // A thread and a runtime of their own: the test's runtime may be ending.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                for (caller, id) in made {
                    // A client belongs to the runtime in which it was used first.
                    let caller = caller.renewed();
                    caller.delete(&format!("/v3/pods/{id}")).await;
                }
            });
        });
        let _ = cleaning.join();
    }
}
