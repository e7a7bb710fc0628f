//! Configuration from a file and from variables.

use std::path::Path;
use std::time::Duration;

use pods_runtime::config::{
    DatabaseConfig, ExposeSecret, LogConfig, LogFormat, NatsConfig, SecretsConfig, ServiceConfig, duration,
    load_from,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Config {
    service: ServiceConfig,
    #[serde(default)]
    log: LogConfig,
    database: DatabaseConfig,
    nats: NatsConfig,
    #[serde(default)]
    spawn: Spawn,
    #[serde(default)]
    images: Images,
}

#[derive(Debug, Default, Deserialize)]
struct Spawn {
    #[serde(default, with = "duration")]
    give_up_after: Duration,
    #[serde(default, with = "duration::option")]
    grace: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
struct Images {
    allow: Vec<String>,
}

const FILE: &str = r#"
[service]
site_id = "dev"
[log]
format = "text"
[database]
url = "postgres://pods:hunter2@127.0.0.1/pods"
[nats]
url = "nats://127.0.0.1:4222"
[spawn]
give_up_after = "1h30m"
[images]
allow = ["busybox"]
[[compute_queues]]
queue_name = "of another process"
"#;

fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pods.toml");
    std::fs::write(&path, text).expect("it can be written");
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_from(Some(&path), env)
        .map_err(|error| format!("{error:#}").replace(&path.display().to_string(), "FILE"))
}

#[test]
fn the_file_is_read_and_defaults_fill_in() {
    let config = load_text(FILE, &[]).unwrap();
    assert_eq!(config.service.site_id, "dev");
    assert_eq!(config.service.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Text, "info"));
    assert_eq!((config.database.pool_size, config.nats.stream.as_str()), (8, "PODS"));
    assert_eq!(config.spawn.give_up_after, Duration::from_secs(5400));
    assert_eq!(config.spawn.grace, None);
}

#[test]
fn variables_win_and_are_taken_literally() {
    let config = load_text(
        FILE,
        &[
            ("PODS__DATABASE__POOL_SIZE", "3"),
            ("PODS__DATABASE__URL", "007"),
            ("PODS__SPAWN__GRACE", "500ms"),
            ("PODS__IMAGES__ALLOW", r#"["a", "b"]"#),
            ("PODS__LOG__FILTER", "debug"),
            ("PODS_CONFIG", "ignored here"),
            ("PATH", "ignored too"),
        ],
    )
    .unwrap();
    assert_eq!(config.database.pool_size, 3);
    assert_eq!(config.database.url.expose_secret(), "007");
    assert_eq!(config.spawn.grace, Some(Duration::from_millis(500)));
    assert_eq!(config.images.allow, ["a", "b"]);
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Text, "debug"));
}

#[test]
fn the_environment_alone_is_enough() {
    let env = [
        ("PODS__SERVICE__SITE_ID", "dev"),
        ("PODS__DATABASE__URL", "postgres://x"),
        ("PODS__NATS__URL", "nats://x"),
    ];
    let config: Config =
        load_from(None, env.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn errors_name_the_key_and_both_places_to_set_it() {
    let error = load_text(&FILE.replace("url = \"nats", "uri = \"nats"), &[]).unwrap_err();
    assert!(error.contains("`nats") && error.contains("uri"), "{error}");
    let error = load_text(&FILE.replace("site_id = \"dev\"", ""), &[]).unwrap_err();
    assert_eq!(
        error,
        "the configuration key `service.site_id` is missing; set it in FILE or with the environment variable \
         PODS__SERVICE__SITE_ID"
    );
    let error = load_text(FILE, &[("PODS__DATABASE__POOL_SIZE", "many")]).unwrap_err();
    assert!(error.contains("`database.pool_size`") && error.contains("PODS__DATABASE__POOL_SIZE"), "{error}");
    let error = load_text(FILE, &[("PODS__SPAWN__GIVE_UP_AFTER", "20")]).unwrap_err();
    assert!(error.contains("spawn.give_up_after") && error.contains("such as 500ms"), "{error}");
    let error = load_text(FILE, &[("PODS__LOG__FORMAT", "xml")]).unwrap_err();
    assert!(error.contains("PODS__LOG__FORMAT") && error.contains("xml"), "{error}");
}

#[test]
fn a_broken_or_missing_file_is_named_without_its_content() {
    let error = load_text(&FILE.replace("hunter2@127.0.0.1/pods\"", "hunter2"), &[]).unwrap_err();
    assert!(error.starts_with("FILE, line 7: ") && !error.contains("hunter2"), "{error}");
    let error = load_from::<Config, _>(Some(Path::new("/nowhere/pods.toml")), []).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("/nowhere/pods.toml") && error.contains("PODS_CONFIG"), "{error}");
}

#[test]
fn secrets_do_not_show() {
    let config = load_text(FILE, &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[derive(Debug, Deserialize)]
struct WithSecrets {
    secrets: SecretsConfig,
}

fn keys(keys: &str) -> anyhow::Result<SecretsConfig> {
    let env = [("PODS__SECRETS__KEYS".to_owned(), keys.to_owned())];
    load_from::<WithSecrets, _>(None, env).map(|config| config.secrets)
}

#[test]
fn keys_come_from_files_and_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("k2");
    std::fs::write(&file, "canary2\n").unwrap();
    let config =
        keys(&format!(r#"[{{ id = "k2", file = {file:?} }}, {{ id = "k1", value = "canary1" }}]"#)).unwrap();
    assert!(!format!("{config:?}").contains("canary1"));
    let read = config.read().unwrap();
    let read: Vec<_> = read.iter().map(|(id, text)| (id.as_str(), text.expose_secret())).collect();
    assert_eq!(read, [("k2", "canary2"), ("k1", "canary1")]);
}

#[test]
fn a_key_that_cannot_be_read_is_counted_and_never_shown() {
    for text in [
        r#"[{ id = "k1" }]"#,
        r#"[{ id = "k1", file = "/nowhere", value = "canary" }]"#,
        r#"[{ id = "k1", file = "/nowhere" }]"#,
    ] {
        let error = format!("{:#}", keys(text).unwrap().read().unwrap_err());
        assert!(error.contains("key number 1") && !error.contains("canary"), "{error}");
    }
    for text in
        [r#"[{ value = "canary" }]"#, r#"[{ id = "k1", values = "canary" }]"#, r#"["canary"]"#, "canary"]
    {
        let error = format!("{:#}", keys(text).unwrap_err());
        assert!(error.contains("secrets.keys") && !error.contains("canary"), "{error}");
    }
}
