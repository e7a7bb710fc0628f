//! The published clients, unchanged, through every operation that the service has.

use std::{path::PathBuf, process::Command};

use integration_tests::{Scene, env::TokenWish, scene::HTTPD, script};

/// A client's script as a user of the tenant `dev` whom no other script uses, for what each user has once.
async fn follow(user: &str, program: impl FnOnce(&Scene) -> Command) {
    let scene = Scene::new().await;
    let mut command = program(&scene);
    command
        .env("BASE_URL", &scene.env.base_url)
        .env("USER", user)
        .env("PASSWORD", user)
        .env("ADMIN", "root")
        .env("TOKEN", scene.env.token(TokenWish { user, ..TokenWish::default() }))
        .env("ADMIN_TOKEN", scene.env.token(TokenWish { user: "root", ..TokenWish::default() }))
        .env("IMAGE", HTTPD)
        .env("UNIQUE", scene.id("c"));
    script::run(command).await;
}

fn tapipy(scene: &Scene) -> Command {
    let mut command = Command::new(&scene.env.python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tapipy/operations.py"));
    command
}

/// The service's own OpenAPI document in a file.
async fn own_document(scene: &Scene) -> PathBuf {
    let document = scene.alice.get("/v3/pods/openapi.json").await;
    assert_eq!(document.code, 200, "{}", document.body);
    let file = std::env::temp_dir().join(format!("{}.json", scene.id("openapi")));
    std::fs::write(&file, document.body.to_string()).expect("the temporary folder is writable");
    file
}

#[tokio::test]
async fn tapipy_as_it_is_delivered() {
    follow("carol", tapipy).await;
}

#[tokio::test]
async fn tapipy_with_our_document() {
    let scene = Scene::new().await;
    let document = own_document(&scene).await;
    let spec = document.clone();
    follow("dave", |scene| {
        let mut command = tapipy(scene);
        command.env("SPEC", spec);
        command
    })
    .await;
    let _ = std::fs::remove_file(document);
}

async fn typescript(package: &str, user: &str) {
    follow(user, |scene| {
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/typescript/script.cjs")).arg(package);
        command.env("NODE_PATH", &scene.env.node_modules);
        command
    })
    .await;
}

#[tokio::test]
async fn typescript_package_of_pods() {
    typescript("@tapis/tapis-typescript-pods", "erin").await;
}

#[tokio::test]
async fn typescript_package_of_all_services() {
    typescript("@tapis/tapis-typescript", "frank").await;
}
