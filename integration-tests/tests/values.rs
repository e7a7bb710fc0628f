//! What a start puts in the place of placeholders, files and probes, as the container sees it.

use std::collections::BTreeMap;

use integration_tests::Scene;
use serde_json::{Value, json};

const SCRIPT: &str = r#"
echo "login $LOGIN"
echo "token $TOKEN"
echo "argument $1"
echo "kept $2"
echo "file $(cat /etc/app/app.ini)"
/opt/run.sh
sleep 1
"#;

/// The log's lines by their first word.
async fn told(scene: &Scene, id: &str) -> BTreeMap<String, String> {
    let log = scene.alice.logs(id).await;
    let line = |line: &str| line.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.to_owned()));
    log.lines().filter_map(line).collect()
}

#[tokio::test]
async fn placeholders_reach_the_container_and_nothing_else() {
    let scene = Scene::new().await;
    let id = scene.id("values");
    let body = json!({
        "pod_id": id, "image": "busybox",
        "command": ["sh", "-c", SCRIPT],
        "arguments": ["sh", "<<tapissecret_user_password>>", "$HOME $(nothing) $$"],
        "secret_map": { "PORT": "${pods:default:5432:?Port}", "TOKEN": "${pods:random:16}", "WORD": "a literal" },
        "environment_variables": {
            "LOGIN": "<<tapissecret_user_username>>/<<TAPIS_service_username>>:${pods:secrets:PORT}",
            "TOKEN": "${pods:secrets:TOKEN}",
        },
        "volume_mounts": {
            "/etc/app/app.ini": { "type": "ephemeral", "config_content": "${pods:secrets:WORD} of <<TAPIS_pod_id>>" },
            "/opt/run.sh": { "type": "ephemeral", "config_content": "#!/bin/sh\necho ran ${HOME}", "config_permissions": "0755" },
        },
    });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "COMPLETE").await;
    let credentials = scene.alice.get(&format!("/v3/pods/{id}/credentials")).await.result();
    let password = credentials["user_password"].as_str().unwrap();
    let first = told(&scene, &id).await;
    let expected = [
        ("login", format!("{id}/podsservice:5432")),
        ("argument", password.to_owned()),
        ("kept", "$HOME $(nothing) $$".to_owned()),
        ("file", format!("a literal of {id}")),
    ];
    for (name, value) in expected {
        assert_eq!(first.get(name), Some(&value), "{name}");
    }
    assert!(first.contains_key("ran"), "{first:?}");
    assert_eq!(first["token"].len(), 16);

    let pod = scene.alice.pod(&id).await.to_string();
    assert!(pod.contains("${pods:random:16}"));
    assert!(!pod.contains(password) && !pod.contains(&first["token"]), "{pod}");

    scene.alice.act(&id, "restart").await;
    scene.alice.await_status(&id, "COMPLETE").await;
    assert_eq!(told(&scene, &id).await, first, "the same values at every start");
}

#[tokio::test]
async fn the_kubernetes_pod_holds_no_value() {
    let scene = Scene::new().await;
    let id = scene.id("novalue");
    let body = json!({
        "pod_id": id, "image": "busybox",
        "command": ["sh", "-c", "while :; do sleep 0.2; done", "<<tapissecret_user_password>>"],
        "environment_variables": { "A": "canary-environment" },
        "volume_mounts": { "/f": { "type": "ephemeral", "config_content": "canary-file" } },
    });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let credentials = scene.alice.get(&format!("/v3/pods/{id}/credentials")).await.result();
    let pod = serde_json::to_string(&scene.cluster.pod_of(&id).await).unwrap();
    assert!(
        !pod.contains("canary") && !pod.contains(credentials["user_password"].as_str().unwrap()),
        "{pod}"
    );
}

#[tokio::test]
async fn a_start_without_its_storage_or_secret_is_an_error_and_leaves_nothing() {
    let scene = Scene::new().await;
    let cases: [(&str, Value, &str); 2] = [
        ("volume_mounts", json!({ "/data": { "type": "pvc", "source_id": "data" } }), "storage_unavailable"),
        ("secret_map", json!({ "PASS": "${secret:dbpass}" }), "secret_unavailable"),
    ];
    for (field, value, code) in cases {
        let id = scene.id("lacks");
        let mut body = json!({ "pod_id": id, "image": "busybox" });
        body[field] = value;
        scene.create(&scene.alice, body).await;
        let pod = scene.alice.await_status(&id, "ERROR").await;
        assert_eq!(pod["status_container"]["code"], code, "{pod}");
        assert!(pod["status_container"]["message"].as_str().unwrap().len() > 40, "{pod}");
        assert_eq!(scene.cluster.objects_of(&id).await, Vec::<String>::new());
        let change = json!({ field: {}, "command": ["true"] });
        scene.alice.put(&format!("/v3/pods/{id}"), change).await.result();
        scene.alice.act(&id, "start").await;
        scene.alice.await_status(&id, "COMPLETE").await;
    }
}

#[tokio::test]
async fn a_container_that_does_not_pass_its_liveness_probe_ends() {
    let scene = Scene::new().await;
    let pod = |probe: &str| {
        let probe = json!({ "exec_command": [probe], "initial_delay_seconds": 1, "period_seconds": 1,
            "failure_threshold": 1 });
        json!({ "pod_id": scene.id("alive"), "image": "busybox",
            "command": ["sh", "-c", "while :; do sleep 0.2; done"],
            "healthchecks": { "startup": { "exec_command": ["true"], "initial_delay_seconds": 0, "period_seconds": 1 },
                "liveness": probe } })
    };
    let (lives, dies) = (pod("true"), pod("false"));
    for body in [&lives, &dies] {
        scene.create(&scene.alice, body.clone()).await;
    }
    scene.alice.await_status(dies["pod_id"].as_str().unwrap(), "ERROR").await;
    scene.alice.await_status(lives["pod_id"].as_str().unwrap(), "AVAILABLE").await;
}
