//! A profile's Kubernetes namespace, and what our processes may do there: as little as in production.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::{Profile, Shared};
use crate::infra::kube::Cluster;
use crate::{run, ui};

/// The service account that the pods of users run as. It has no role.
pub const SERVICE_ACCOUNT: &str = "user-pods";

/// Kubeconfigs of the processes that talk to Kubernetes.
#[derive(Clone, Debug)]
pub struct Access {
    /// For the spawner.
    pub spawner: PathBuf,
    /// For health.
    pub health: PathBuf,
    /// For the API.
    pub api: PathBuf,
}

/// Creates the namespace with its roles.
pub fn ensure(profile: &Profile, shared: &Shared) -> Result<Access> {
    let namespace = profile.namespace();
    let stamp = profile.dir.join("namespace.yaml");
    let wanted = manifest(profile);
    let there = run::succeeds(shared.kubectl()?.args(["get", "namespace", &namespace]));
    if !there || !fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        run::wait_for("kubernetes", &format!("namespace {namespace}"), Duration::from_secs(120), || {
            // While an earlier namespace of this name is being deleted, this is refused.
            apply(shared, &wanted).is_ok()
        })?;
        run::wait_for("kubernetes", "its default service account", Duration::from_secs(60), || {
            let command = shared.kubectl();
            command.is_ok_and(|mut kubectl| {
                run::succeeds(kubectl.args(["-n", &namespace, "get", "serviceaccount", "default"]))
            })
        })?;
        ui::say("kubernetes", format!("namespace {namespace} with its roles"));
        fs::create_dir_all(&profile.dir)?;
        fs::write(&stamp, wanted)?;
    }
    match shared.cluster {
        Some(cluster) => Ok(Access {
            spawner: kubeconfig(cluster, profile, "spawner")?,
            health: kubeconfig(cluster, profile, "health")?,
            api: kubeconfig(cluster, profile, "api")?,
        }),
        // In a cluster of the user's we cannot sign certificates: all work with what was given.
        None => Ok(Access { spawner: shared.admin()?, health: shared.admin()?, api: shared.admin()? }),
    }
}

/// What a process reaches Kubernetes with: directly, or by way of the profile's own address.
fn kubeconfig(cluster: &Cluster, profile: &Profile, process: &str) -> Result<PathBuf> {
    let user = user(profile, process);
    match &profile.kube_server {
        None => cluster.kubeconfig(&user, ""),
        Some(server) => cluster.kubeconfig_by_way_of(&user, server),
    }
}

fn apply(shared: &Shared, manifest: &str) -> Result<()> {
    run::with_input(shared.kubectl()?.args(["apply", "-f", "-"]), manifest).map(drop)
}

/// Deletes the namespace with everything in it.
pub fn remove(profile: &Profile, shared: &Shared) -> Result<()> {
    let _ = fs::remove_file(profile.dir.join("namespace.yaml"));
    let namespace = profile.namespace();
    // Waiting for every pod's own grace makes the deletion of a namespace take minutes.
    let force = ["delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false", "-n", &namespace];
    run::quiet(shared.kubectl()?.args(force))?;
    let delete = ["delete", "namespace", &namespace, "--ignore-not-found", "--timeout=180s"];
    run::quiet(shared.kubectl()?.args(delete))
}

fn user(profile: &Profile, process: &str) -> String {
    format!("pods-{}-{process}", profile.name)
}

fn manifest(profile: &Profile) -> String {
    let namespace = profile.namespace();
    let role = |process: &str, rules: &str| {
        let user = user(profile, process);
        format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n\
             metadata: {{ name: pods-{process}, namespace: {namespace} }}\nrules:\n{rules}\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
             metadata: {{ name: pods-{process}, namespace: {namespace} }}\n\
             subjects: [{{ kind: User, name: {user}, apiGroup: rbac.authorization.k8s.io }}]\n\
             roleRef: {{ kind: Role, name: pods-{process}, apiGroup: rbac.authorization.k8s.io }}\n"
        )
    };
    let spawner = r#"- { apiGroups: [""], resources: [pods, services, secrets], verbs: [get, list, create, patch, delete] }
- { apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list, create, patch, delete] }
"#;
    let health = r#"- { apiGroups: [""], resources: [pods, events], verbs: [get, list, watch] }
- { apiGroups: [""], resources: [pods/log], verbs: [get] }
"#;
    let api = r#"- { apiGroups: [""], resources: [pods], verbs: [get] }
- { apiGroups: [""], resources: [events], verbs: [list] }
"#;
    let health_user = user(profile, "health");
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace} }}\n\
         ---\napiVersion: v1\nkind: ServiceAccount\n\
         metadata: {{ name: {SERVICE_ACCOUNT}, namespace: {namespace} }}\nautomountServiceAccountToken: false\n{}{}{}\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{ name: {health_user}-nodes }}\n\
         rules:\n- {{ apiGroups: [\"\"], resources: [nodes], verbs: [get, list, watch] }}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{ name: {health_user}-nodes }}\n\
         subjects: [{{ kind: User, name: {health_user}, apiGroup: rbac.authorization.k8s.io }}]\n\
         roleRef: {{ kind: ClusterRole, name: {health_user}-nodes, apiGroup: rbac.authorization.k8s.io }}\n",
        role("spawner", spawner),
        role("health", health),
        role("api", api),
    )
}
