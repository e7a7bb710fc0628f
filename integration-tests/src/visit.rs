//! Visitors of pods: through Traefik, at the pod's own host.

use std::time::Duration;

use reqwest::{Certificate, Client, redirect::Policy};

use crate::{
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
    /// The content.
    pub text: String,
}

impl Visitor {
    /// A visitor.
    pub fn new(env: &Env) -> Self {
        let ca = std::fs::read(&env.ca_file).expect("the environment has an authority");
        let ca = Certificate::from_pem(&ca).expect("the authority is a certificate");
        let http = Client::builder()
            .no_proxy()
            .tls_certs_merge([ca])
            .redirect(Policy::none())
            .timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client can be built");
        Self { http, http_port: env.http_port, https_port: env.https_port }
    }

    /// Over TLS.
    pub async fn https(&self, host: &str, path: &str) -> Page {
        self.get(&format!("https://{host}:{}{path}", self.https_port)).await
    }

    /// Without TLS.
    pub async fn http(&self, host: &str, path: &str) -> Page {
        self.get(&format!("http://{host}:{}{path}", self.http_port)).await
    }

    async fn get(&self, url: &str) -> Page {
        let answer = self.http.get(url).header("Accept", "text/html").send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{url} got no answer: {error:?}"));
        let header = |name: &str| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let (location, retry_after) = (header("location"), header("retry-after"));
        Page {
            code: answer.status().as_u16(),
            location,
            retry_after,
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
