//! A list of pods that are merged with their templates.

use anyhow::{Result, ensure};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::{
    api::{Api, Creates, End, create, measure},
    numbers::judge,
};

/// How many pods are listed.
const PODS: usize = 1000;
/// How many chains of templates the pods are made from.
const CHAINS: usize = 20;
/// CPU seconds of the API for 1000 lists.
const TARGET: f64 = 25.0;

/// Makes the templates and pods of a user and measures the list.
pub async fn list(api: &Api, run: &str, token: &str, connections: usize, time: End) -> Result<bool> {
    for chain in 0..CHAINS {
        make_chain(api, token, &template_id(run, chain)).await?;
    }
    let creates = Creates {
        what: &format!("POST /pods (OFF, from a template, {PODS})"),
        token,
        prefix: &format!("b{run}d"),
        count: PODS,
        body: &|number| {
            json!({
                "template": format!("{}:top", template_id(run, number % CHAINS)), "status_requested": "OFF",
                "environment_variables": { "OWN": number.to_string() },
            })
        },
    };
    create(api, connections, creates).await?;
    let path = "/v3/pods?derived_lite=true";
    let answer: Value = api
        .request(&Client::builder().no_proxy().build()?, Method::GET, path, token)
        .send()
        .await?
        .json()
        .await?;
    let pods = answer["result"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(pods.len() == PODS, "{} pods instead of {PODS}", pods.len());
    for pod in pods {
        let environment = pod["environment_variables"].as_object().map_or(0, serde_json::Map::len);
        ensure!(pod["image"] == "busybox" && environment == 4, "a pod is not merged: {pod}");
    }
    let list = |client: &Client, _| api.request(client, Method::GET, path, token);
    let what = format!("GET /pods?derived_lite=true with {PODS} of three-level templates");
    Ok(judge("derived list", measure(api, &what, connections, time, list).await?, TARGET, "CPU-s/1000"))
}

fn template_id(run: &str, chain: usize) -> String {
    format!("b{run}t{chain}")
}

/// A template with the tags `deep`, `middle` (from `deep`) and `top` (from `middle`).
async fn make_chain(api: &Api, token: &str, template: &str) -> Result<()> {
    let client = Client::builder().no_proxy().build()?;
    let post = async |path: String, body: Value| -> Result<()> {
        let response = api.request(&client, Method::POST, &path, token).json(&body).send().await?;
        let status = response.status();
        ensure!(status == 200, "POST {path} answered {status}: {}", response.text().await?);
        Ok(())
    };
    post("/v3/pods/templates".into(), json!({ "template_id": template })).await?;
    let definitions = [
        ("deep", json!({ "image": "busybox", "environment_variables": { "DEEP": "1" } })),
        (
            "middle",
            json!({ "template": format!("{template}:deep"), "environment_variables": { "MIDDLE": "1" } }),
        ),
        ("top", json!({ "template": format!("{template}:middle"), "environment_variables": { "TOP": "1" } })),
    ];
    for (tag, pod_definition) in definitions {
        let body = json!({ "tag": tag, "commit_message": "bench", "pod_definition": pod_definition });
        post(format!("/v3/pods/templates/{template}/tags"), body).await?;
    }
    Ok(())
}

/// Deletes the templates that a run made.
pub async fn delete_templates(api: &Api, run: &str, token: &str) -> Result<()> {
    let client = Client::builder().no_proxy().build()?;
    for chain in 0..CHAINS {
        let path = format!("/v3/pods/templates/{}?force=true", template_id(run, chain));
        api.request(&client, Method::DELETE, &path, token).send().await?;
    }
    Ok(())
}
