//! The table of faults, run: `explain` names the cause of each, soon after Kubernetes knows it.
//!
//! `PODS_FAULT=id,id` runs only these.

use integration_tests::{
    env::short,
    faults::{
        Fault, Table,
        inject::Stage,
        run::{self, Outcome},
    },
    registry::FaultyRegistry,
};
use serde_json::json;

/// Of all faults together at most two may be missed: one here, one there.
const MISSES_ALLOWED: usize = 1;

fn chosen(alone: bool) -> Vec<Fault> {
    let wanted = std::env::var("PODS_FAULT").ok();
    let wanted: Option<Vec<&str>> = wanted.as_deref().map(|ids| ids.split(',').collect());
    let chosen = |fault: &Fault| match &wanted {
        Some(ids) => ids.contains(&fault.id.as_str()),
        None => !(fault.long && short()),
    };
    Table::load().faults.into_iter().filter(|fault| fault.alone == alone && chosen(fault)).collect()
}

async fn allow_images(stage: &Stage, faults: &[Fault]) {
    let admin = stage.scene.admin.in_admin_mode();
    for fault in faults {
        let image = fault.pod["image"].as_str().expect("a fault has an image");
        if !image.contains('/') {
            continue;
        }
        let image = image.rsplit_once(':').map_or(image, |(name, _)| name);
        let answer = admin.post("/v3/pods/images", json!({ "image": image, "tenants": ["dev"] })).await;
        assert!(matches!(answer.code, 200 | 409), "{}", answer.body);
    }
}

#[expect(clippy::print_stdout, reason = "the table with its times is the result")]
fn say(text: &str) {
    println!("{text}");
}

fn judge(outcomes: &[Outcome]) {
    let (text, misses) = run::report(outcomes);
    say(&text);
    let allowed = if outcomes.len() >= 10 { MISSES_ALLOWED } else { 0 };
    assert!(misses <= allowed, "{misses} causes were not named in time\n{text}");
    let remarks: Vec<&String> = outcomes.iter().flat_map(|outcome| &outcome.remarks).collect();
    assert!(remarks.is_empty(), "answers that no user should get: {remarks:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_of_every_fault_of_one_pod_is_named() {
    let faults = chosen(false);
    let _registry = FaultyRegistry::start().await;
    let stage = Stage::new().await;
    allow_images(&stage, &faults).await;
    let outcomes = run::side_by_side(&stage, &faults, say).await;
    stage.end().await;
    judge(&outcomes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_of_a_shared_part_is_named_and_its_pods_go_on_afterwards() {
    let faults = chosen(true);
    let stage = Stage::new().await;
    let outcomes = run::in_turn(&stage, &faults, say).await;
    stage.end().await;
    judge(&outcomes);
}
