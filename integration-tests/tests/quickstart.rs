//! The user guide's Quickstart and "Managing Pods", with the clients that the guide names.

use std::process::Command;

use integration_tests::{
    Caller, Scene,
    env::{Tenant, TokenWish},
    scene::HTTPD,
    script,
};

/// Runs one of the guide's texts as alice of a tenant; both call their pod `docpod`, so each has a tenant of its own.
async fn follow(program: impl Fn(&Scene) -> Command, tenant: impl Fn(&Scene) -> Tenant) {
    let scene = Scene::new().await;
    let tenant = tenant(&scene);
    let token = scene.env.token(TokenWish { user: "alice", tenant: &tenant.id, ..TokenWish::default() });
    let alice = Caller::new("alice", &tenant.base_url, token);
    // A run that was interrupted may have left one.
    alice.delete("/v3/pods/docpod").await;
    scene.will_delete(&alice, "docpod");

    let mut command = program(&scene);
    command
        .env("BASE_URL", &tenant.base_url)
        .env("USER", "alice")
        .env("PASSWORD", "alice")
        .env("IMAGE", HTTPD)
        .env("HTTPS_PORT", scene.env.https_port.to_string())
        .env("CA_FILE", &scene.env.ca_file)
        .env("PYTHON", &scene.env.python);
    script::run(command).await;
    scene.cluster.await_nothing_of("docpod").await;
}

#[tokio::test]
async fn with_tapipy() {
    let python = |scene: &Scene| {
        let mut command = Command::new(&scene.env.python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tapipy/quickstart.py"));
        command
    };
    follow(python, |scene| scene.env.tenants[0].clone()).await;
}

#[tokio::test]
async fn with_curl() {
    let bash = |_: &Scene| {
        let mut command = Command::new("bash");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/curl/quickstart.sh"));
        command
    };
    follow(bash, |scene| scene.env.other_tenant().clone()).await;
}
