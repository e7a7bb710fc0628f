//! The connection to the API server.

use std::{future::Future, time::Duration};

use kube::{Client, Config, client::ClientBuilder};
use serde::Deserialize;

use crate::{
    calls::Calls,
    failure::{Failure, classify},
};

/// How long one call may take before its outcome counts as unknown.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

/// `[kubernetes]`: where the pods of users live. Which cluster is said by `KUBECONFIG`, or by being inside of one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesConfig {
    /// The namespace of the pods of users.
    pub namespace: String,
    /// The cluster's DNS domain.
    #[serde(default = "cluster_domain")]
    pub cluster_domain: String,
}

fn cluster_domain() -> String {
    "cluster.local".to_owned()
}

/// No usable cluster is configured.
#[derive(Debug, thiserror::Error)]
#[error("no Kubernetes cluster is configured; set KUBECONFIG to a readable file, or run inside of a cluster")]
pub struct ClientError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A client for the configured cluster. Nothing is asked of it yet, so this works while it is down.
///
/// kube's own retries are off: whoever calls retries, visibly and counted once. Each call is measured and traced.
///
/// # Errors
/// [`ClientError`] when the configuration names no cluster or cannot be read.
pub async fn connect() -> Result<Client, ClientError> {
    let mut config = Config::infer().await.map_err(|error| ClientError(Box::new(error)))?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    let builder = ClientBuilder::try_from(config).map_err(|error| ClientError(Box::new(error)))?;
    Ok(builder.with_layer(&Calls).build())
}

/// Waits for the answer to one call, at most [`CALL_LIMIT`], and says what an error means.
///
/// # Errors
/// The meaning of the error; a call that takes too long is [`Failure::Unknown`].
pub async fn call<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(CALL_LIMIT, answer).await {
        Ok(answer) => answer.map_err(|error| classify(&error)),
        Err(_) => Err(Failure::Unknown(format!("no answer within {} s", CALL_LIMIT.as_secs()))),
    }
}
