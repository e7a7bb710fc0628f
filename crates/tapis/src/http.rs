//! Requests to the platform and its envelope.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use url::Url;

use crate::error::SetupError;

/// A request to the platform that brought no usable answer.
#[derive(Debug, Clone, Error)]
pub enum PlatformError {
    /// No answer, or one that is no envelope.
    #[error("{0}")]
    Request(#[source] Arc<reqwest::Error>),
    /// An answer that is not a success.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
}

impl PlatformError {
    /// Was it 401: the credentials are no longer good?
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Status { status: 401, .. })
    }

    /// Was it a definite no?
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status, .. } if (400..500).contains(status) && !matches!(status, 401 | 408 | 429))
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    result: T,
}

/// The client for all requests. It follows no redirect, so a service token goes nowhere else.
pub fn client(timeout: Duration) -> Result<Client, SetupError> {
    let connect = timeout.min(Duration::from_secs(2));
    let builder = Client::builder().timeout(timeout).connect_timeout(connect).redirect(Policy::none());
    builder.user_agent(concat!("pods/", env!("CARGO_PKG_VERSION"))).build().map_err(SetupError)
}

/// The address below a base URL; every segment is encoded.
pub fn endpoint(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// Sends and unpacks the envelope's result.
pub async fn result_of<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, PlatformError> {
    result_of_answer(send(request).await?).await
}

/// Sends; any answer will do.
pub async fn send(request: RequestBuilder) -> Result<Response, PlatformError> {
    request.send().await.map_err(failed)
}

/// Unpacks the envelope's result of a success.
pub async fn result_of_answer<T: DeserializeOwned>(response: Response) -> Result<T, PlatformError> {
    let envelope: Envelope<T> = successful(response)?.json().await.map_err(failed)?;
    Ok(envelope.result)
}

/// Is it a success?
pub fn check(response: Response) -> Result<(), PlatformError> {
    successful(response).map(drop)
}

fn successful(response: Response) -> Result<Response, PlatformError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let mut url = response.url().clone();
    url.set_query(None);
    Err(PlatformError::Status { url: url.to_string(), status: response.status().as_u16() })
}

fn failed(error: reqwest::Error) -> PlatformError {
    PlatformError::Request(Arc::new(error))
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn segments_are_encoded_and_slashes_do_not_double() {
        for base in ["http://x.test", "http://x.test/"] {
            let url = endpoint(&base.parse().unwrap(), &["v3", "user", "a/b c?"]);
            assert_eq!(url.as_str(), "http://x.test/v3/user/a%2Fb%20c%3F");
        }
    }
}
