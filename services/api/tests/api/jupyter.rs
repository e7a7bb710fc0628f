//! `GET /pods/jupyter/ensure`.

use serde_json::json;

use crate::{
    app::TestApp,
    templates::{TEMPLATES, tag, template},
};

const PATH: &str = "/v3/pods/jupyter/ensure";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_gets_one_notebook_of_their_own() {
    let app = TestApp::start().await;
    app.alice().get(PATH).await.is(400, "jupyterlab");
    let root = app.admin_mode();
    template(&root, "jupyterlab").await;
    let definition = json!({"image": "busybox", "networking": {"default": {"port": 8888}}});
    tag(&root, "jupyterlab", "noauth", definition).await;
    app.alice().get(PATH).await.is(403, "READ");
    let everybody = json!({"user": "**", "level": "READ"});
    root.post(&format!("{TEMPLATES}/jupyterlab/permissions"), everybody).await.ok();

    let answer = app.alice().get(PATH).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let first = answer.ok();
    assert_eq!(
        (&first["pod_id"], &first["status"]),
        (&json!("tapistempjupyteralice001"), &json!("REQUESTED"))
    );
    assert_eq!(first["url"], "https://tapistempjupyteralice001.pods.dev.localhost");
    assert_eq!(first["networking"]["default"]["port"], 8888);
    assert_eq!(app.alice().get(PATH).await.ok(), first, "the same one again");
    // A pod that is shared with somebody is not theirs.
    app.alice().grant("tapistempjupyteralice001", "bob", "USER").await;
    let bobs = app.bob().get(PATH).await.ok();
    assert_eq!(bobs["pod_id"], "tapistempjupyterbob001");

    let own = json!({"pod_id": "mynotebook", "template": "jupyterlab:noauth"});
    app.user("dora").post("/v3/pods", own).await.ok();
    assert_eq!(app.user("dora").get(PATH).await.ok()["pod_id"], "mynotebook");

    app.alice().get("/v3/pods/tapistempjupyteralice001/stop").await.ok();
    let second = app.alice().get(PATH).await.ok();
    assert_eq!(second["pod_id"], "tapistempjupyteralice002");

    let strange = app.user("A.Very-Long_Name.That.Does.Not.Fit.Anywhere@example.org");
    let pod = strange.get(PATH).await.ok();
    assert!(pod["pod_id"].as_str().unwrap().starts_with("tapistempjupyteraverylongname"));
    // Two names that map to the same text do not share a notebook.
    let one = app.user("ann-e").get(PATH).await.ok();
    let two = app.user("anne").get(PATH).await.ok();
    assert_eq!(
        (&one["pod_id"], &two["pod_id"]),
        (&json!("tapistempjupyteranne001"), &json!("tapistempjupyteranne002"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_meet_share_one_notebook() {
    let app = TestApp::start().await;
    template(&app.alice(), "jupyterlab").await;
    tag(&app.alice(), "jupyterlab", "noauth", json!({"image": "busybox"})).await;
    let alice = app.alice();
    let answers = futures::future::join_all((0..4).map(|_| alice.get(PATH))).await;
    for answer in answers {
        assert_eq!(answer.ok()["pod_id"], "tapistempjupyteralice001");
    }
    assert_eq!(alice.get("/v3/pods").await.ok().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_somebody_else_prepared_is_not_handed_out() {
    let app = TestApp::start().await;
    let mallory = app.user("mallory");
    template(&mallory, "jupyterlab").await;
    tag(&mallory, "jupyterlab", "noauth", json!({"image": "busybox"})).await;
    let everybody = json!({"user": "**", "level": "READ"});
    app.admin_mode().post(&format!("{TEMPLATES}/jupyterlab/permissions"), everybody).await.ok();
    for pod_id in ["a00", "tapistempjupyteralice001"] {
        let body = json!({"pod_id": pod_id, "template": "jupyterlab:noauth", "command": ["evil"]});
        mallory.post("/v3/pods", body).await.ok();
        mallory.grant(pod_id, "alice", "ADMIN").await;
    }
    // Even when nobody else has a right on it any more.
    mallory.delete("/v3/pods/tapistempjupyteralice001/permissions/mallory").await.ok();
    let own = app.alice().get(PATH).await.ok();
    assert_eq!(own["pod_id"], "tapistempjupyteralice002");
    assert_eq!(app.alice().get(PATH).await.ok(), own);
}
