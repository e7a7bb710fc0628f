//! Drivers and clients of databases, at the hosts of pods.

use std::sync::LazyLock;

use integration_tests::{
    Scene,
    programs::{self, BOLT_STUB},
    scene::{POSTGRES, PYTHON},
    script,
};
use serde_json::{Value, json};

use crate::start;

/// The pod's own user, as the template of Neo4j has it.
pub static NEO4J_USER: LazyLock<Value> = LazyLock::new(
    || json!({ "POD_USER": "<<tapissecret_user_username>>", "POD_PASSWORD": "<<tapissecret_user_password>>" }),
);

/// The pod's own user, as the template of PostgreSQL has it.
pub static POSTGRES_USER: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "POSTGRES_USER": "<<tapissecret_user_username>>",
        "POSTGRES_PASSWORD": "<<tapissecret_user_password>>",
        "POSTGRES_DB": "postgres",
    })
});

/// A database in a pod, as its owner reaches it.
pub struct Database {
    host: String,
    port: u16,
    user: String,
    password: String,
}

impl Database {
    /// The one behind an entry of a pod of alice's.
    pub async fn of(scene: &Scene, id: &str, entry: &str) -> Self {
        let credentials = scene.alice.get(&format!("/v3/pods/{id}/credentials")).await.result();
        let word = |name: &str| credentials[name].as_str().unwrap().to_owned();
        Self {
            host: scene.env.pod_host(id, entry),
            port: scene.env.https_port,
            user: word("user_username"),
            password: word("user_password"),
        }
    }

    /// What psql says, with more options of the connection.
    pub async fn psql(&self, options: &str, statement: &str) -> Result<String, String> {
        let Self { host, port, user, .. } = self;
        let connection = format!("host={host} port={port} user={user} dbname=postgres {options}");
        programs::psql(&connection, &self.password, statement).await
    }
}

/// The published driver logs in, asks and is answered.
pub async fn neo4j_driver_works(scene: &Scene, id: &str, entry: &str) {
    let Database { host, port, user, password } = Database::of(scene, id, entry).await;
    let mut command = programs::python(&scene.env, "bolt.py");
    command.args([&format!("bolt+s://{host}:{port}"), &user, &password]);
    script::run(command).await;
}

/// The published driver logs in, asks and is answered; `tls` is what the server in the container sees.
pub async fn psycopg2_works(scene: &Scene, id: &str, entry: &str, tls: bool) {
    let Database { host, port, user, password } = Database::of(scene, id, entry).await;
    let mut command = programs::python(&scene.env, "postgres.py");
    command.args([&host, &port.to_string(), &user, &password, &tls.to_string()]);
    script::run(command).await;
}

#[tokio::test]
async fn neo4j_at_the_main_host() {
    let scene = Scene::new().await;
    let body = json!({
        "image": PYTHON,
        "command": ["python3", "-u", "-c", BOLT_STUB, "7687"],
        "networking": { "default": { "protocol": "tcp", "port": 7687 } },
        "environment_variables": *NEO4J_USER,
    });
    let id = start(&scene, "bolt", body).await;
    neo4j_driver_works(&scene, &id, "default").await;
}

#[tokio::test]
async fn postgres_at_the_main_host_speaks_tls_itself() {
    let scene = Scene::new().await;
    let body = json!({
        "image": POSTGRES,
        "networking": { "default": { "protocol": "postgres", "port": 5432 } },
        "environment_variables": *POSTGRES_USER,
    });
    let id = start(&scene, "data", body).await;
    psycopg2_works(&scene, &id, "default", true).await;

    let database = Database::of(&scene, &id, "default").await;
    let tls = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    for mode in ["prefer", "require"] {
        assert_eq!(database.psql(&format!("sslmode={mode}"), tls).await.as_deref(), Ok("t"), "{mode}");
    }
    // The certificate is the container's own; nobody signed it.
    let authority = scene.env.ca_file.display();
    let verified = database.psql(&format!("sslmode=verify-full sslrootcert={authority}"), "select 1").await;
    assert!(verified.clone().is_err_and(|why| why.contains("certificate verify failed")), "{verified:?}");

    let stranger = Database { password: "wrong".to_owned(), ..database };
    let refused = stranger.psql("sslmode=require", "select 1").await;
    assert!(refused.clone().is_err_and(|why| why.contains("password authentication failed")), "{refused:?}");
    for without in ["sslmode=disable hostaddr=127.0.0.1", "sslmode=require sslsni=0"] {
        let lost = stranger.psql(without, "select 1").await;
        let reached = lost.as_ref().err().is_none_or(|why| why.contains("password authentication failed"));
        assert!(!reached, "{without}: nothing says which pod is meant, {lost:?}");
    }
}

#[tokio::test]
async fn postgres_behind_tls_of_the_proxy_can_be_verified() {
    let scene = Scene::new().await;
    let mut environment = POSTGRES_USER.clone();
    environment["POSTGRES_TLS"] = "off".into();
    let body = json!({
        "image": POSTGRES,
        "networking": {
            "default": { "protocol": "postgres", "port": 5432, "tls_mode": "terminate" },
            "through": { "protocol": "postgres", "port": 5432 },
        },
        "environment_variables": environment,
    });
    let id = start(&scene, "verify", body).await;
    psycopg2_works(&scene, &id, "default", false).await;

    let database = Database::of(&scene, &id, "default").await;
    let verified = format!("sslmode=verify-full sslrootcert={}", scene.env.ca_file.display());
    for options in [verified.as_str(), "sslmode=require"] {
        assert_eq!(database.psql(options, "select 1").await.as_deref(), Ok("1"), "{options}");
    }
    let others = "sslmode=verify-full sslrootcert=/etc/ssl/certs/ca-certificates.crt";
    let unknown = database.psql(others, "select 1").await;
    assert!(unknown.clone().is_err_and(|why| why.contains("certificate verify failed")), "{unknown:?}");

    // The same server has no TLS to offer where the proxy ends none.
    let through = Database::of(&scene, &id, "through").await;
    let refused = through.psql("sslmode=require", "select 1").await;
    assert!(refused.is_err(), "{refused:?}");
}
