//! A browser, and the proxy between it and the pods.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

use pods_db::pods::PodRow;
use reqwest::{Client, Method, StatusCode, header::HeaderMap};

use crate::world::{Replica, World};

const WELL_KNOWN: &str = "/.well-known/tapis-pods/";
const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

/// Keeps cookies for each host.
pub struct Browser<'w> {
    world: &'w World,
    client: Client,
    pods: HashMap<String, (uuid::Uuid, String, bool)>,
    pub cookies: RefCell<BTreeMap<String, BTreeMap<String, String>>>,
    /// Every Set-Cookie that came.
    pub set: RefCell<Vec<(String, String)>>,
    edge: std::net::SocketAddr,
}

/// An answer to one request.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    /// The headers that the pod got, when the request reached it.
    pub at_pod: Option<HeaderMap>,
}

impl Answer {
    pub fn location(&self) -> &str {
        self.headers.get("location").map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// A header that the pod got.
    pub fn told(&self, name: &str) -> Option<&str> {
        self.at_pod.as_ref().unwrap().get(name).map(|value| value.to_str().unwrap())
    }
}

/// A request as it is sent.
#[derive(Clone)]
pub struct Sent<'a> {
    pub method: Method,
    pub headers: Vec<(&'a str, String)>,
    pub form: Vec<(&'a str, &'a str)>,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        Self { method: Method::GET, headers: vec![("accept", HTML.to_owned())], form: Vec::new() }
    }
}

impl<'w> Browser<'w> {
    pub fn new(world: &'w World, pods: &[&PodRow]) -> Self {
        let entries = pods.iter().flat_map(|pod| {
            pod.definition.networking.iter().flat_map(move |(name, entry)| {
                let hosts = [&entry.url, &entry.custom_domain].into_iter().filter(|host| !host.is_empty());
                hosts.map(move |host| (host.clone(), (pod.uid, name.clone(), entry.tapis_auth)))
            })
        });
        Self {
            world,
            client: Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
            pods: entries.collect(),
            cookies: RefCell::default(),
            set: RefCell::default(),
            edge: world.edge.address,
        }
    }

    /// The same with another edge process behind the proxy.
    pub fn at(mut self, replica: &Replica) -> Self {
        self.edge = replica.address;
        self
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.send(url, Sent::default()).await
    }

    /// Sends one request and follows nothing.
    pub async fn send(&self, url: &str, sent: Sent<'_>) -> Answer {
        let parsed: url::Url = url.parse().unwrap();
        let host = parsed.host_str().unwrap().to_owned();
        let path = &parsed[url::Position::BeforePath..];
        let answer = match self.pods.get(&host).cloned() {
            Some(entry) => self.at_pod_host(&host, entry, path, &sent).await,
            None => self.at_tenant(&parsed, &sent).await,
        };
        for value in answer.headers.get_all("set-cookie") {
            self.keep(&host, value.to_str().unwrap());
        }
        answer
    }

    /// Follows redirects of a page to the end.
    pub async fn follow(&self, url: &str) -> (String, Answer) {
        self.follow_from(url.to_owned(), self.get(url).await).await
    }

    pub async fn follow_from(&self, mut url: String, mut answer: Answer) -> (String, Answer) {
        for _ in 0..12 {
            if answer.status != 302 {
                return (url, answer);
            }
            url = answer.location().to_owned();
            answer = self.get(&url).await;
        }
        panic!("too many redirects, the last one to {url}")
    }

    /// Opens a page, logs in on the way, and ends where that leads.
    pub async fn log_in(&self, url: &str, user: &str) -> (String, Answer) {
        let (form, page) = self.follow(url).await;
        assert!(form.contains("/v3/oauth2/authorize?"), "no login page, but {form}: {page:?}");
        let answer = self.submit(&form, user).await;
        self.follow_from(form, answer).await
    }

    /// Sends the form of the login page.
    pub async fn submit(&self, form: &str, user: &str) -> Answer {
        let sent = Sent {
            method: Method::POST,
            form: vec![("username", user), ("password", user)],
            ..Sent::default()
        };
        self.send(form, sent).await
    }

    pub fn cookie(&self, host: &str, name: &str) -> Option<String> {
        self.cookies.borrow().get(host)?.get(name).cloned()
    }

    pub fn set_cookie(&self, host: &str, name: &str, value: &str) {
        let mut cookies = self.cookies.borrow_mut();
        cookies.entry(host.to_owned()).or_default().insert(name.to_owned(), value.to_owned());
    }

    fn keep(&self, host: &str, text: &str) {
        self.set.borrow_mut().push((host.to_owned(), text.to_owned()));
        let (pair, attributes) = text.split_once(';').unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        if attributes.contains("Max-Age=0") {
            if let Some(cookies) = self.cookies.borrow_mut().get_mut(host) {
                cookies.remove(name);
            }
        } else {
            self.set_cookie(host, name, value);
        }
    }

    fn cookie_header(&self, host: &str) -> Option<String> {
        let cookies = self.cookies.borrow();
        let pairs: Vec<String> =
            cookies.get(host)?.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The platform, and the API below its own path, as a tenant's proxy divides them.
    async fn at_tenant(&self, url: &url::Url, sent: &Sent<'_>) -> Answer {
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let to =
            if url.path().starts_with("/v3/pods") { self.world.api } else { self.world.platform.address() };
        let path = &url[url::Position::BeforePath..];
        self.exchange(sent.method.clone(), &format!("http://{to}{path}"), authority, sent, &[]).await
    }

    async fn at_pod_host(
        &self,
        host: &str,
        entry: (uuid::Uuid, String, bool),
        path: &str,
        sent: &Sent<'_>,
    ) -> Answer {
        let (uid, network, tapis_auth) = entry;
        if let Some(rest) = path.strip_prefix(WELL_KNOWN) {
            let url = format!("http://{}/login/{uid}/{network}/{rest}", self.edge);
            return self.exchange(sent.method.clone(), &url, host, sent, &[]).await;
        }
        if !tapis_auth {
            // Nobody is asked, and nothing is taken out.
            let mut headers: HeaderMap = HeaderMap::new();
            if let Some(cookies) = self.cookie_header(host) {
                headers.insert("cookie", cookies.parse().unwrap());
            }
            return Answer {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: String::new(),
                at_pod: Some(headers),
            };
        }
        let which = if path.starts_with("/open") { "forward-auth-open" } else { "forward-auth" };
        let url = format!("http://{}/{which}/{uid}/{network}", self.edge);
        let says = [
            ("x-forwarded-host", host.to_owned()),
            ("x-forwarded-proto", "https".to_owned()),
            ("x-forwarded-uri", path.to_owned()),
            ("x-forwarded-method", sent.method.to_string()),
        ];
        let mut answer = self.exchange(Method::GET, &url, host, sent, &says).await;
        if answer.status == 200 {
            answer.at_pod = Some(self.passed(host, sent, &answer.headers));
        }
        answer
    }

    /// The visitor's headers with those that the decision replaces or takes out.
    fn passed(&self, host: &str, sent: &Sent<'_>, decided: &HeaderMap) -> HeaderMap {
        let replaced = |name: &str| {
            let name = name.replace('_', "-");
            name == "cookie"
                || name == "internal"
                || name.starts_with("x-tapis-")
                || name.starts_with("pods-service")
        };
        let mut headers = HeaderMap::new();
        let visitors = sent.headers.iter().map(|(name, value)| (*name, value.clone()));
        let cookie = self.cookie_header(host).map(|value| ("cookie", value));
        for (name, value) in visitors.chain(cookie) {
            if !replaced(name) {
                headers.append(name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap());
            }
        }
        for (name, value) in decided.iter().filter(|(name, _)| replaced(name.as_str())) {
            headers.append(name, value.clone());
        }
        headers
    }

    async fn exchange(
        &self,
        method: Method,
        url: &str,
        host: &str,
        sent: &Sent<'_>,
        more: &[(&str, String)],
    ) -> Answer {
        let name = host.split(':').next().unwrap();
        let mut request = self.client.request(method, url).header("host", host);
        for (name, value) in &sent.headers {
            request = request.header(*name, value);
        }
        if let Some(cookies) = self.cookie_header(name) {
            request = request.header("cookie", cookies);
        }
        for (name, value) in more {
            request = request.header(*name, value);
        }
        if !sent.form.is_empty() {
            request = request.form(&sent.form);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap(), at_pod: None }
    }
}
