//! Visitors of pods: through Traefik, at the pod's own host.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, header::HeaderMap};

use crate::{
    client,
    env::Env,
    wait::{LIMIT, await_condition},
};

/// A visitor who trusts the environment's authority and follows no redirect.
#[derive(Debug, Clone)]
pub struct Visitor {
    http: Client,
    http_port: u16,
    https_port: u16,
}

/// What a visitor got.
#[derive(Debug, Clone)]
pub struct Page {
    /// The status code.
    pub code: u16,
    /// Where a redirect leads.
    pub location: String,
    /// `Retry-After`.
    pub retry_after: String,
    /// All of the headers.
    pub headers: HeaderMap,
    /// The content.
    pub text: String,
}

impl Page {
    /// A header, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Visitor {
    /// A visitor.
    pub fn new(env: &Env) -> Self {
        Self::with(env, client::trusting(env))
    }

    /// A visitor of a domain that leads to the environment's proxy, which has no certificate for it.
    pub fn of_domain(env: &Env, domain: &str) -> Self {
        Self::with(env, client::of_domain(domain))
    }

    fn with(env: &Env, client: ClientBuilder) -> Self {
        let http = client
            .timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client can be built");
        Self { http, http_port: env.http_port, https_port: env.https_port }
    }

    /// Over TLS.
    pub async fn https(&self, host: &str, path: &str) -> Page {
        self.ask(host, path, "text/html").await
    }

    /// Over TLS, by a client that would rather have what `accept` says.
    pub async fn ask(&self, host: &str, path: &str, accept: &str) -> Page {
        self.get(&format!("https://{host}:{}{path}", self.https_port), accept).await
    }

    /// Without TLS.
    pub async fn http(&self, host: &str, path: &str) -> Page {
        self.plain(host, path, "text/html").await
    }

    /// Without TLS, by a client that would rather have what `accept` says.
    pub async fn plain(&self, host: &str, path: &str, accept: &str) -> Page {
        self.get(&format!("http://{host}:{}{path}", self.http_port), accept).await
    }

    async fn get(&self, url: &str, accept: &str) -> Page {
        let answer = self.http.get(url).header("Accept", accept).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{url} got no answer: {error:?}"));
        let header = |name: &str| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let (location, retry_after) = (header("location"), header("retry-after"));
        Page {
            code: answer.status().as_u16(),
            location,
            retry_after,
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap_or_default(),
        }
    }

    /// Waits until a page has the code and contains the text.
    pub async fn await_page(&self, host: &str, path: &str, code: u16, text: &str) -> Page {
        await_condition(&format!("https://{host}{path} answers {code} with {text:?}"), LIMIT, || async {
            let page = self.https(host, path).await;
            if page.code == code && page.text.contains(text) { Ok(page) } else { Err(format!("{page:?}")) }
        })
        .await
    }
}
