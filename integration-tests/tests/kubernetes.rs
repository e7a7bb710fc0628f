//! What Kubernetes holds of a pod, in the real cluster.

use integration_tests::{Scene, await_condition, wait::LIMIT};
use k8s_openapi::api::{core::v1::Secret, networking::v1::NetworkPolicy};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use pods_kube::labels;
use serde_json::{Value, json};

async fn policies(scene: &Scene, pod_id: &str) -> Vec<NetworkPolicy> {
    let of_pod = ListParams::default().labels(&format!("{}={pod_id}", labels::POD_ID));
    scene.cluster.policies.list(&of_pod).await.expect("Kubernetes lists policies").items
}

fn ingress_rules(policy: &NetworkPolicy) -> usize {
    policy.spec.as_ref().and_then(|spec| spec.ingress.as_ref()).map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_policy_follows_the_entries_and_goes_with_the_pod() {
    let scene = Scene::new().await;
    let id = scene.httpd("policy").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let (pod, before) = (scene.cluster.pod_of(&id).await, policies(&scene, &id).await);
    assert_eq!(before.len(), 1);
    assert_eq!(before[0].name_any(), pod.name_any());
    assert_eq!(before[0].owner_references()[0].uid, pod.metadata.uid.clone().unwrap_or_default());
    assert!(before[0].metadata.creation_timestamp <= pod.metadata.creation_timestamp);
    assert_eq!(ingress_rules(&before[0]), 2, "Traefik and the tenant");

    let closed = json!({"networking": {"default": {"port": 5000, "ip_allow_list": ["127.0.0.0/8"]}}});
    scene.alice.put(&format!("/v3/pods/{id}"), closed).await.result();
    await_condition("the port is closed to the tenant", LIMIT, || async {
        let now = policies(&scene, &id).await;
        if now.len() == 1 && ingress_rules(&now[0]) == 1 { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    assert_eq!(scene.cluster.pod_of(&id).await.metadata.uid, pod.metadata.uid, "the container went on");

    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    assert_eq!(scene.cluster.objects_of(&id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_image_needs_an_approved_user_and_an_operators_secret() {
    let scene = Scene::new().await;
    let user = scene.id("approved");
    let name = format!("tapis-pods-imagepullsecret-{user}");
    let body = json!({"pod_id": scene.id("private"), "image": "busyhttpd",
        "environment_variables": {"TAPIS_PODS_IMAGEPULLSECRET": user}});
    let id = scene.create(&scene.alice, body).await["pod_id"].as_str().unwrap_or_default().to_owned();
    let why = async || {
        let pod = scene.alice.await_status(&id, "ERROR").await;
        assert_eq!(pod["status_container"]["code"], "image_pull_secret");
        pod["status_container"]["message"].as_str().unwrap_or_default().to_owned()
    };
    let told = why().await;
    assert!(told.contains("APPROVEDADMIN") && told.contains(&user), "{told}");
    assert_eq!(scene.cluster.objects_of(&id).await, Vec::<String>::new());

    scene.admin.in_admin_mode().grant(&id, &user, "APPROVEDADMIN").await;
    scene.alice.act(&id, "restart").await;
    await_condition("the missing Secret is told", LIMIT, || async {
        let told = scene.alice.pod(&id).await["status_container"]["message"].to_string();
        if told.contains(&name) && told.contains("operator") { Ok(()) } else { Err(told) }
    })
    .await;
    why().await;

    let secret: Value = json!({"metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": r#"{"auths":{}}"#}});
    let secret: Secret = serde_json::from_value(secret).expect("it is a Secret");
    scene.cluster.secrets.create(&PostParams::default(), &secret).await.expect("the operator creates it");
    scene.alice.act(&id, "restart").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let used = scene.cluster.pod_of(&id).await.spec.and_then(|spec| spec.image_pull_secrets);
    let used: Vec<String> = used.unwrap_or_default().into_iter().map(|secret| secret.name).collect();
    assert_eq!(used, [name.as_str()]);
    let deleted = scene.cluster.secrets.delete(&name, &DeleteParams::default()).await;
    deleted.expect("the operator deletes it");
}
