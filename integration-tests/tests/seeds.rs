//! Every example of the user guide: `seeds/examples.yaml` has them all, `seeds/run.py` runs them.
//!
//! The guide always calls its pods and templates the same, so its languages have a tenant each and run one after the
//! other (a group in `.config/nextest.toml`).

use std::process::Command;

use integration_tests::{
    Scene,
    env::{Tenant, TokenWish},
    scene::HTTPD,
    script,
};

async fn follow(language: &str, tenant: impl Fn(&Scene) -> Tenant) {
    let scene = Scene::new().await;
    let tenant = tenant(&scene);
    let document = scene.alice.get("/v3/pods/openapi.json").await;
    assert_eq!(document.code, 200, "{}", document.body);
    let spec = std::env::temp_dir().join(format!("{}.json", scene.id("openapi")));
    std::fs::write(&spec, document.body.to_string()).expect("the temporary folder is writable");
    let token = |user: &str| scene.env.token(TokenWish { user, tenant: &tenant.id, ..TokenWish::default() });
    let admin =
        TokenWish { user: "root", tenant: &tenant.id, role: Some("pods_admin"), ..TokenWish::default() };

    let mut command = Command::new(&scene.env.python);
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/run.py"))
        .arg(language)
        .env("BASE_URL", &tenant.base_url)
        .env("TENANT", &tenant.id)
        .env("USER", "alice")
        .env("PASSWORD", "alice")
        .env("TOKEN", token("alice"))
        .env("ADMIN_TOKEN", scene.env.token(admin))
        .env("SPEC", &spec)
        .env("HTTPS_PORT", scene.env.https_port.to_string())
        // The authority of the pods' certificates, for Python and for curl.
        .env("SSL_CERT_FILE", &scene.env.ca_file)
        .env("CURL_CA_BUNDLE", &scene.env.ca_file)
        .env("IMAGE", HTTPD);
    script::run(command).await;
    let _ = std::fs::remove_file(spec);
}

#[tokio::test]
async fn examples_in_python() {
    follow("python", |scene| scene.env.tenants[0].clone()).await;
}

#[tokio::test]
async fn examples_with_curl() {
    follow("curl", |scene| scene.env.other_tenant().clone()).await;
}

#[tokio::test]
async fn fragments_of_definitions() {
    follow("fragment", |scene| scene.env.tenants[0].clone()).await;
}
