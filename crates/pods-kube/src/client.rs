//! The connection to the API server.

use std::{future::Future, time::Duration};

use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt},
};
use serde::Deserialize;
use tower::{
    BoxError,
    util::{MapErr, option_layer},
};

use crate::{
    calls::Calls,
    failure::{Failure, classify},
};

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// What is read at once from a connection for a stream, and the longest head of an answer.
const STREAM_BUFFER: usize = 4096;
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
    let config = configuration().await?;
    let builder = ClientBuilder::try_from(config).map_err(client_error)?;
    Ok(builder.with_layer(&Calls).build())
}

/// The same for streams that are many, long and mostly silent: each connection is used once and reads little at a time,
/// because the usual buffers of thousands of them are the most of a process's memory.
///
/// # Errors
/// [`ClientError`] when the configuration names no cluster or cannot be read.
pub async fn connect_for_streams() -> Result<Client, ClientError> {
    let config = configuration().await?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(config.connect_timeout);
    let connector = config.rustls_https_connector_with_connector(tcp).map_err(client_error)?;
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .http1_read_buf_exact_size(STREAM_BUFFER)
        .pool_max_idle_per_host(0)
        .build(connector);
    // From the inside out.
    let builder = ClientBuilder::new(MapErr::new(http, BoxError::from), config.default_namespace.clone())
        .with_layer(&config.extra_headers_layer().map_err(client_error)?)
        .with_layer(&option_layer(config.auth_layer().map_err(client_error)?))
        .with_layer(&config.base_uri_layer())
        .with_layer(&Calls);
    Ok(builder.build())
}

async fn configuration() -> Result<Config, ClientError> {
    let mut config = Config::infer().await.map_err(client_error)?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_LIMIT);
    Ok(config)
}

fn client_error(error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
    ClientError(Box::new(error))
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
