//! Configuration: one TOML file for all processes, every key of it overridable by an environment variable.
//!
//! The file is named by `PODS_CONFIG`; without the variable only the environment counts. The key `pool_size` of
//! `[database]` is overridden by `PODS__DATABASE__POOL_SIZE`. A value from the environment is taken literally (a
//! password of digits stays a string) unless it starts with `[` or `{`: then it is a TOML array or inline table.
//!
//! The file is shared, so a process' own top-level struct must ignore sections that it does not know, while the
//! section structs here refuse unknown keys: there a stranger is a typing mistake.

pub mod duration;
mod secrets;
mod sections;

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;

pub use secrecy::{ExposeSecret, SecretString};
pub use secrets::{KeyConfig, SecretsConfig, read_keys};
pub use sections::{DatabaseConfig, LogConfig, LogFormat, NatsConfig, ServiceConfig, TelemetryConfig};

/// The variable that names the configuration file.
pub const FILE_VARIABLE: &str = "PODS_CONFIG";

const PREFIX: &str = "PODS__";
const SEPARATOR: &str = "__";

/// Reads the configuration of this process from the file of `PODS_CONFIG` and the environment.
pub fn load<T: DeserializeOwned>() -> anyhow::Result<T> {
    let file = std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty());
    // A variable that is not text cannot be ours: `vars()` would panic on a foreign one.
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    load_from(file.as_deref().map(Path::new), env)
}

/// Reads a configuration from a file and from variables that the caller gives.
pub fn load_from<T, E>(file: Option<&Path>, env: E) -> anyhow::Result<T>
where
    T: DeserializeOwned,
    E: IntoIterator<Item = (String, String)>,
{
    let mut builder = config::Config::builder();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("the configuration file {}, named by {FILE_VARIABLE}, cannot be read", path.display())
        })?;
        check_syntax(path, &text)?;
        builder = builder.add_source(config::File::from_str(&text, config::FileFormat::Toml));
    }
    // Sorted, so that PODS__A={..} comes before PODS__A__B and the more exact one wins.
    let mut env: Vec<_> = env.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    env.sort();
    for (name, value) in env {
        let key = name[PREFIX.len()..].to_lowercase().replace(SEPARATOR, ".");
        let value = env_value(&name, value)?;
        builder = builder
            .set_override(&key, value)
            .map_err(|_| anyhow!("the environment variable {name} does not name a configuration key; the form is PODS__SECTION__KEY"))?;
    }
    let loaded = builder.build().map_err(|error| explain(error, file))?;
    loaded.try_deserialize().map_err(|error| explain(error, file))
}

/// A syntax error without the offending line: that line may hold a password.
fn check_syntax(path: &Path, text: &str) -> anyhow::Result<()> {
    let Err(error) = text.parse::<toml::Table>() else { return Ok(()) };
    let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
    bail!("{}, line {line}: {}", path.display(), error.message().trim());
}

fn env_value(name: &str, text: String) -> anyhow::Result<config::Value> {
    if !text.trim_start().starts_with(['[', '{']) {
        return Ok(text.into());
    }
    let table: toml::Table = format!("value = {text}").parse().map_err(|error: toml::de::Error| {
        anyhow!("the environment variable {name} is not a TOML value: {}", error.message().trim())
    })?;
    Ok(to_config(table.into_iter().next().map_or(toml::Value::Boolean(false), |(_, value)| value)))
}

fn to_config(value: toml::Value) -> config::Value {
    match value {
        toml::Value::String(value) => value.into(),
        toml::Value::Integer(value) => value.into(),
        toml::Value::Float(value) => value.into(),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(value) => value.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(to_config).collect::<Vec<_>>().into(),
        toml::Value::Table(table) => table
            .into_iter()
            .map(|(key, value)| (key, to_config(value)))
            .collect::<config::Map<_, _>>()
            .into(),
    }
}

/// Says which key is wrong and the two places where it can be set right.
fn explain(error: config::ConfigError, file: Option<&Path>) -> anyhow::Error {
    use config::ConfigError as E;
    let (key, problem) = match &error {
        E::NotFound(key) => (Some(key.clone()), "is missing".to_owned()),
        E::Type { key, expected, .. } => (key.clone(), format!("has the wrong type: it must be {expected}")),
        // The error may quote the value, and here that is a key.
        E::At { key: Some(key), .. } if key.starts_with("secrets") || key.starts_with("logins") => {
            (Some(key.clone()), "does not have the form that the documentation shows".to_owned())
        }
        E::At { error, key, .. } => (key.clone(), format!("is wrong: {error}")),
        other => (None, other.to_string()),
    };
    let place = match file {
        Some(path) => format!("in {}", path.display()),
        None => format!("in a file named by {FILE_VARIABLE} (not set now)"),
    };
    match key {
        Some(key) => {
            let variable = format!("{PREFIX}{}", key.replace('.', SEPARATOR).to_uppercase());
            anyhow!(
                "the configuration key `{key}` {problem}; set it {place} or with the environment variable {variable}"
            )
        }
        None => anyhow!(
            "the configuration is wrong: {problem}; correct it {place} or with environment variables {PREFIX}SECTION__KEY"
        ),
    }
}
