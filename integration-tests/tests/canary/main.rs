//! Distinctive secret values go through everything that a pod can go through, and are found in the Kubernetes Secret, in
//! the container and in `/credentials`, and nowhere else.
//!
//! That the search would find them is proved in the same run: an unmarked word that must be in every place that is
//! searched is found there, a value that the container prints is found in its log, and `Places::search` has tests of
//! its own beside it.

mod places;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use async_nats::Subscriber;
use futures::StreamExt;
use integration_tests::{Scene, await_condition, observed::Observed, wait::LIMIT};
use k8s_openapi::api::{
    core::v1::{Event, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};
use kube::{Api, Client, api::ListParams};
use pods_kube::labels;
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use places::Places;

/// In every value that is secret by the hand of this test.
const CANARY: &str = "quetzalcoatlus";

/// Shorter ones are words of any sentence.
const SECRET_FROM: usize = 12;

/// Keeps everything that passes through the broker.
struct Tap {
    kept: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Tap {
    async fn start(scene: &Scene) -> Self {
        let client = async_nats::connect(&scene.env.nats_url).await.expect("NATS answers");
        let subscriber: Subscriber = client.subscribe(">").await.expect("NATS lets anybody listen");
        client.flush().await.expect("NATS answers");
        let kept = Arc::new(Mutex::new(String::new()));
        let keep = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            let _stays_open = client;
            let mut subscriber = subscriber;
            while let Some(message) = subscriber.next().await {
                let text = format!(
                    "{} {:?} {}\n",
                    message.subject,
                    message.headers,
                    String::from_utf8_lossy(&message.payload)
                );
                keep.lock().expect("nobody panics with the lock").push_str(&text);
            }
        });
        Self { kept, task }
    }

    fn text(&self) -> String {
        self.kept.lock().expect("nobody panics with the lock").clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps everything that the stream of events says to alice.
fn listen(scene: &Scene) -> Tap {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
    let request = http
        .get(format!("{}/v3/pods/events", scene.env.base_url))
        .header("x-tapis-token", &scene.alice.token);
    let kept = Arc::new(Mutex::new(String::new()));
    let keep = Arc::clone(&kept);
    let task = tokio::spawn(async move {
        let answer = request.send().await.expect("the API answers");
        assert!(answer.status().is_success(), "{}", answer.status());
        let mut parts = answer.bytes_stream();
        while let Some(Ok(part)) = parts.next().await {
            keep.lock().expect("nobody panics with the lock").push_str(&String::from_utf8_lossy(&part));
        }
    });
    Tap { kept, task }
}

fn body(scene: &Scene, id: &str) -> Value {
    let value = |name: &str| format!("{CANARY}-{name}-{}", scene.id(""));
    json!({
        "pod_id": id, "image": "busybox",
        "command": ["sh", "-c", "echo plain-word; echo \"$0\" | wc -c; sleep 1000", "<<tapissecret_user_password>>"],
        "secret_map": {
            "LITERAL": value("literal"),
            "PRESET": format!("${{pods:default:{}}}", value("default")),
            "RANDOM": "${pods:random:40}",
        },
        "environment_variables": {
            "PLAIN": value("environment"),
            "QUOTED": format!("two \"words\"\n{}", value("quoted")),
            "MAPPED": "${pods:secrets:LITERAL} ${pods:secrets:PRESET} ${pods:secrets:RANDOM} <<TAPIS_service_password>>",
        },
        "volume_mounts": {
            "/etc/app.ini": { "type": "ephemeral", "config_content": format!("{} ${{pods:secrets:LITERAL}}", value("file")) },
        },
        "networking": { "default": { "protocol": "http", "port": 5000 } },
    })
}

/// Every value of a pod that is nobody's business: those of its Secrets, and the words in its definition.
async fn secrets_of(client: &Client, scene: &Scene, id: &str, body: &Value) -> BTreeSet<String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &scene.env.namespace);
    let found = secrets.list(&of(id)).await.expect("Kubernetes lists Secrets");
    assert!(!found.items.is_empty(), "{id} has a Secret");
    let mut values: BTreeSet<String> = found
        .items
        .iter()
        .flat_map(|secret| secret.data.iter().flatten())
        .map(|(_, bytes)| String::from_utf8_lossy(&bytes.0).into_owned())
        .collect();
    let text = body.to_string();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    values.extend(words.filter(|word| word.starts_with(CANARY)).map(ToOwned::to_owned));
    // A value that is put together of others is searched for by its parts too.
    let parts: Vec<String> =
        values.iter().flat_map(|value| value.split_whitespace()).map(ToOwned::to_owned).collect();
    values.extend(parts);
    values.retain(|value| value.len() >= SECRET_FROM);
    values
}

fn of(id: &str) -> ListParams {
    ListParams::default().labels(&format!("{}={id}", labels::POD_ID))
}

async fn objects<K>(client: &Client, scene: &Scene, ids: &[String]) -> String
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &scene.env.namespace);
    let mut text = String::new();
    for id in ids {
        let found = api.list(&of(id)).await.expect("Kubernetes lists objects");
        text.push_str(&serde_json::to_string(&found.items).expect("objects are JSON"));
    }
    text
}

/// Everything that the API says about a pod to its owner, but the definition itself and the credentials.
async fn answers(scene: &Scene, id: &str, places: &mut Places) {
    for part in ["events", "explain", "logs", "log-runs", "permissions"] {
        let answer = scene.alice.get(&format!("/v3/pods/{id}/{part}")).await;
        assert_eq!(answer.code, 200, "{part}: {}", answer.body);
        places.add(format!("answer {part}"), answer.body.to_string());
    }
    let pod = scene.alice.pod(id).await;
    places.add("answer status_container", pod["status_container"].to_string());
    let list = scene.alice.get("/v3/pods").await.result();
    let own = list.as_array().into_iter().flatten().filter(|pod| pod["pod_id"] == id);
    own.for_each(|pod| places.add("answer status_container", pod["status_container"].to_string()));
}

/// Requests that are refused, with values in them.
async fn refusals(scene: &Scene, id: &str, good: &Value, places: &mut Places) {
    let mut bodies = Vec::new();
    let wrong = |change: Value| {
        let mut body = good.clone();
        body["pod_id"] = scene.id("refused").into();
        for (key, value) in change.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        body
    };
    bodies.push(wrong(json!({ "pod_id": id })));
    bodies.push(wrong(json!({ "image": "not/allowed:1" })));
    bodies.push(wrong(json!({ "nonsense": format!("{CANARY}-unknown-key") })));
    bodies.push(wrong(json!({ "secret_map": { "A": { "deep": format!("{CANARY}-deep-literal") } } })));
    bodies.push(wrong(json!({ "environment_variables": [format!("{CANARY}-in-an-array")] })));
    bodies.push(wrong(
        json!({ "environment_variables": { "A": { "deep": format!("{CANARY}-deep-variable") } } }),
    ));
    for body in bodies {
        let answer = scene.try_create(&scene.alice, body).await;
        assert!((400..500).contains(&answer.code), "{}: {}", answer.code, answer.body);
        places.add("refusal", answer.body.to_string());
    }
    for (caller, path, code) in
        [(&scene.bob, format!("/v3/pods/{id}"), 403), (&scene.bob, format!("/v3/pods/{id}/credentials"), 403)]
    {
        let answer = caller.send(Method::GET, &path, None).await;
        assert_eq!(answer.code, code, "{}", answer.body);
        places.add("refusal", answer.body.to_string());
    }
}

/// Every value of a new pod that is secret, once its start has a Secret.
async fn values_of(client: &Client, scene: &Scene, id: &str, body: &Value) -> BTreeSet<String> {
    let has_secret = || async {
        let api: Api<Secret> = Api::namespaced(client.clone(), &scene.env.namespace);
        let found = api.list(&of(id)).await.map_err(|error| error.to_string())?;
        if found.items.is_empty() { Err("none yet".to_owned()) } else { Ok(()) }
    };
    await_condition(&format!("{id} has a Secret"), LIMIT, has_secret).await;
    let mut values = BTreeSet::new();
    values.extend(secrets_of(client, scene, id, body).await);
    let credentials = scene.alice.get(&format!("/v3/pods/{id}/credentials")).await.result();
    let own = credentials.as_object().into_iter().flatten().filter(|(key, _)| key.contains("password"));
    values.extend(own.filter_map(|(_, value)| value.as_str()).map(ToOwned::to_owned));
    values
}

/// What Kubernetes' events say about the Pods of these.
async fn told_of(client: &Client, scene: &Scene, ids: &[String]) -> String {
    let events: Api<Event> = Api::namespaced(client.clone(), &scene.env.namespace);
    let events = events.list(&ListParams::default()).await.expect("Kubernetes lists events");
    let ours = |event: &&Event| {
        let name = event.involved_object.name.as_deref().unwrap_or_default();
        ids.iter().any(|id| name.contains(id.as_str()))
    };
    let told: Vec<String> =
        events.items.iter().filter(ours).filter_map(|event| event.message.clone()).collect();
    told.join("\n")
}

/// What must be there is there: each place was really read. `good` is the pod that ran.
fn was_really_read(places: &Places, good: &str) {
    for (place, word) in [
        ("traces", good),
        ("stream of events", good),
        ("log of pods-spawner", good),
        ("log of pods-health", good),
        ("log of pods-api", "request"),
        ("NATS", "create"),
        ("Pods", good),
        ("Services", good),
        ("NetworkPolicies", good),
        ("Kubernetes events", "image"),
        ("answer logs", "plain-word"),
        ("answer events", "pod_id"),
        ("answer explain", "message"),
        ("metrics of pods-api", "create_pod"),
        ("refusal", "error"),
    ] {
        let text = places.0.get(place).unwrap_or_else(|| panic!("nothing was read of {place}"));
        assert!(text.contains(word), "{place} does not say `{word}`: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_values_are_nowhere_but_where_they_belong() {
    let scene = Scene::new().await;
    let mut observed = Observed::start(&scene.env, "debug").await;
    let client = scene.cluster.pods.clone().into_client();
    let (broker, stream) = (Tap::start(&scene).await, listen(&scene));

    // A pod that runs, is changed, restarted and stopped; one that can never start; one whose image is not there; and
    // two whose program is a secret value, or lies in a folder of that name, which the container runtime repeats when it
    // says that there is none. What the kubelet then writes into its own Pod and events is not ours; all that we say is.
    let names = ["canary", "canarybad", "canaryimage", "canaryprogram", "canarypath"];
    let ids: Vec<String> = names.iter().map(|id| scene.id(id)).collect();
    let not_quoted = &ids[..3];
    let mut bodies: Vec<Value> = ids.iter().map(|id| body(&scene, id)).collect();
    bodies[1]["command"] = json!(["/no/such/program", "<<tapissecret_user_password>>"]);
    bodies[2]["image"] = "localhost:19099/nope".into();
    bodies[3]["command"] = json!(["<<tapissecret_user_password>>"]);
    bodies[4]["command"] = json!(["/opt/<<tapissecret_user_password>>/run"]);
    let mut secrets = BTreeSet::new();
    let mut places = Places::default();
    for (id, body) in ids.iter().zip(&bodies) {
        scene.create(&scene.alice, body.clone()).await;
        secrets.extend(values_of(&client, &scene, id, body).await);
    }
    let (good, wanted) = (&ids[0], ["AVAILABLE", "ERROR", "ERROR", "ERROR", "ERROR"]);
    for (id, status) in ids.iter().zip(wanted) {
        scene.alice.await_status(id, status).await;
        answers(&scene, id, &mut places).await;
        places.add("Pods", objects::<Pod>(&client, &scene, not_quoted).await);
        places.add("Services", objects::<Service>(&client, &scene, not_quoted).await);
        places.add("NetworkPolicies", objects::<NetworkPolicy>(&client, &scene, not_quoted).await);
    }
    refusals(&scene, good, &bodies[0], &mut places).await;
    let change = json!({ "environment_variables": { "PLAIN": format!("{CANARY}-changed-value") } });
    secrets.insert(format!("{CANARY}-changed-value"));
    scene.alice.put(&format!("/v3/pods/{good}"), change).await.result();
    scene.alice.act(good, "restart").await;
    scene.alice.await_status(good, "AVAILABLE").await;
    places.add("Pods", objects::<Pod>(&client, &scene, not_quoted).await);
    scene.alice.act(good, "stop").await;
    scene.alice.await_status(good, "STOPPED").await;
    answers(&scene, good, &mut places).await;

    places.add("Kubernetes events", told_of(&client, &scene, not_quoted).await);
    for name in observed.names().collect::<Vec<_>>() {
        places.add(format!("metrics of {name}"), observed.metrics(name).await);
    }
    // Their last spans arrive when they end.
    let ended = observed.stop().await;
    assert!(ended.values().all(Result::is_ok), "{ended:?}");
    for name in observed.names() {
        places.add(format!("log of {name}"), observed.log(name));
    }
    places.add("traces", observed.collector.text());
    places.add("NATS", broker.text());
    places.add("stream of events", stream.text());

    was_really_read(&places, good);
    assert!(secrets.len() > 15, "{secrets:?}");
    let found = places.search(&secrets);
    assert!(
        found.is_empty(),
        "{} of {} values were found:\n{}",
        found.len(),
        secrets.len(),
        found.join("\n")
    );
    let marked: Vec<_> =
        places.0.iter().filter(|(_, text)| text.contains(CANARY)).map(|(name, _)| name).collect();
    assert!(marked.is_empty(), "a marked value is in {marked:?}");
}
