//! Somebody with a browser that keeps cookies, who can log in at the platform's page.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, ClientBuilder, Method, Response};

use crate::{client, env::Env};

/// What browsers say when they go to a page.
const ACCEPT: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
/// A login is five redirects.
const REDIRECTS: usize = 12;

/// A browser; cookies belong to one host, as all of this service's do.
#[derive(Debug)]
pub struct Browser {
    http: Client,
    https_port: u16,
    cookies: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

/// What a browser shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The address in the end.
    pub url: String,
    /// The status code.
    pub code: u16,
    /// Where a redirect that was not followed leads.
    pub location: String,
    /// The content.
    pub text: String,
}

impl Shown {
    /// A variable that a CGI program was called with.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Browser {
    /// A new one, which trusts the environment's authority.
    pub fn new(env: &Env) -> Self {
        Self::with(env, client::trusting(env))
    }

    /// One that finds the environment's proxy at a domain, which has no certificate for it.
    pub fn of_domain(env: &Env, domain: &str) -> Self {
        Self::with(env, client::of_domain(domain))
    }

    fn with(env: &Env, client: ClientBuilder) -> Self {
        let http = client.timeout(Duration::from_secs(20)).build().expect("a client can be built");
        Self { http, https_port: env.https_port, cookies: Mutex::default() }
    }

    /// An address on the host of a pod.
    pub fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.https_port)
    }

    /// One request, with more headers; nothing is followed.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Shown {
        let host = host_of(url);
        let mut request = self.http.request(method, url);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            request = request.header("Accept", ACCEPT);
        }
        if let Some(cookies) = self.cookie_header(&host) {
            request = request.header("Cookie", cookies);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !form.is_empty() {
            request = request.form(form);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{url} got no answer: {error:?}"));
        self.keep(&host, &answer);
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
        Shown {
            url: url.to_owned(),
            code: answer.status().as_u16(),
            location: location.unwrap_or_default().to_owned(),
            text: answer.text().await.unwrap_or_default(),
        }
    }

    /// One request to a page; nothing is followed.
    pub async fn get(&self, url: &str) -> Shown {
        self.send(Method::GET, url, &[], &[]).await
    }

    /// Goes to a page and wherever it leads.
    pub async fn visit(&self, url: &str) -> Shown {
        self.follow(self.get(url).await).await
    }

    async fn follow(&self, mut shown: Shown) -> Shown {
        for _ in 0..REDIRECTS {
            if shown.code != 302 {
                return shown;
            }
            shown = self.get(&shown.location.clone()).await;
        }
        panic!("too many redirects; the last one leads to {}", shown.location)
    }

    /// Goes to a page, logs in on the way, and ends where that leads.
    pub async fn log_in(&self, url: &str, user: &str) -> Shown {
        let form = self.visit(url).await;
        assert!(form.url.contains("/v3/oauth2/authorize?"), "this is no login page: {form:?}");
        self.follow(self.fill_in(&form, user).await).await
    }

    /// Sends the form of the platform's login page; nothing is followed. The development platform's users have their
    /// name as password.
    pub async fn fill_in(&self, form: &Shown, user: &str) -> Shown {
        self.send(Method::POST, &form.url, &[], &[("username", user), ("password", user)]).await
    }

    /// A cookie.
    pub fn cookie(&self, host: &str, name: &str) -> Option<String> {
        self.lock().get(host)?.get(name).cloned()
    }

    /// Sets a cookie, as the pod or another site of the tenant could.
    pub fn set_cookie(&self, host: &str, name: &str, value: &str) {
        self.lock().entry(host.to_owned()).or_default().insert(name.to_owned(), value.to_owned());
    }

    fn cookie_header(&self, host: &str) -> Option<String> {
        let cookies = self.lock();
        let pairs: Vec<String> =
            cookies.get(host)?.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn keep(&self, host: &str, answer: &Response) {
        for value in answer.headers().get_all("set-cookie") {
            let text = value.to_str().unwrap_or_default();
            let (pair, attributes) = text.split_once(';').unwrap_or((text, ""));
            let Some((name, value)) = pair.split_once('=') else { continue };
            if attributes.contains("Max-Age=0") {
                if let Some(cookies) = self.lock().get_mut(host) {
                    cookies.remove(name);
                }
            } else {
                self.set_cookie(host, name, value);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeMap<String, String>>> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split([':', '/', '?']).next().unwrap_or_default().to_owned()
}
