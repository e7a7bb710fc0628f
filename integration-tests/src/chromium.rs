//! Debian's Chromium without a window. It is driven as the WebDriver standard says: JSON over HTTP, with the program
//! `chromedriver`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::{
    script::PROXIES,
    wait::{LIMIT, await_condition},
};

/// Names the folder that screenshots are written to; without it there are none.
const SHOTS: &str = "PODS_SHOTS_DIR";
/// How the standard calls what stands for an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with a profile of its own; it ends when it is dropped.
pub struct Chromium {
    driver: Child,
    port: u16,
    session: String,
    http: Client,
    /// A driver whose output nobody holds ends when it writes.
    _output: BufReader<ChildStdout>,
}

impl Chromium {
    /// Starts one. It takes the environment's certificates as they are; other tests look at who signed them.
    pub async fn start() -> Self {
        let mut command = Command::new("chromedriver");
        for name in PROXIES {
            command.env_remove(name);
        }
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().expect("chromedriver is installed: `cargo xtask prepare` does that");
        let mut output = BufReader::new(driver.stdout.take().expect("it is piped"));
        let port = output.by_ref().lines().map_while(Result::ok).find_map(|line| port_in(&line));
        let port = port.expect("chromedriver says its port");
        let http = Client::builder().no_proxy().timeout(LIMIT).build().expect("a client can be built");
        let mut browser = Self { driver, port, session: String::new(), http, _output: output };
        // Root may not have Chromium's sandbox; the pages are our own.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            "--no-first-run",
            "--window-size=1000,760",
        ];
        let capabilities = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "timeouts": { "pageLoad": 60_000, "script": 30_000 },
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
        });
        let wish = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let made = browser.must(Method::POST, "", wish).await;
        browser.session = made["sessionId"].as_str().expect("a session has an id").to_owned();
        browser
    }

    /// Goes to an address and waits until the page is there.
    pub async fn go(&self, url: &str) {
        self.must(Method::POST, "/url", json!({ "url": url })).await;
    }

    /// The address of the page.
    pub async fn url(&self) -> String {
        text_of(self.must(Method::GET, "/url", Value::Null).await)
    }

    /// The text of an element as a person sees it.
    ///
    /// # Errors
    /// When there is no such element at present.
    pub async fn text(&self, css: &str) -> Result<String, String> {
        let element = self.find(css).await?;
        let text = self.ask(Method::GET, &format!("/element/{element}/text"), Value::Null).await;
        text.map(text_of).map_err(|error| error.to_string())
    }

    /// Waits until an element says something.
    pub async fn await_text(&self, css: &str, wanted: &str) -> String {
        self.await_text_within(css, wanted, LIMIT).await
    }

    /// The same with a limit of its own.
    pub async fn await_text_within(&self, css: &str, wanted: &str, limit: Duration) -> String {
        await_condition(&format!("{css} says {wanted:?}"), limit, || async {
            match self.text(css).await {
                Ok(text) if text.contains(wanted) => Ok(text),
                seen => Err(format!("{seen:?} at {}", self.url().await)),
            }
        })
        .await
    }

    /// Clicks on an element, and waits for the page if it leads to one.
    pub async fn click(&self, css: &str) {
        let element = self.found(css).await;
        self.must(Method::POST, &format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into a field, in place of what stands there.
    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.found(css).await;
        self.must(Method::POST, &format!("/element/{element}/clear"), json!({})).await;
        self.must(Method::POST, &format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Fills in the platform's login page and sends it.
    pub async fn log_in(&self, user: &str, password: &str) {
        self.await_text("h1", "Log in to").await;
        self.fill("input[name=username]", user).await;
        self.fill("input[name=password]", password).await;
        self.click("button[type=submit]").await;
    }

    /// The cookies that the browser sends to the address of the page.
    pub async fn cookies(&self) -> Vec<Value> {
        match self.must(Method::GET, "/cookie", Value::Null).await {
            Value::Array(cookies) => cookies,
            other => panic!("these are no cookies: {other}"),
        }
    }

    /// Forgets the cookies that the browser has for the address of the page.
    pub async fn forget_cookies(&self) {
        self.must(Method::DELETE, "/cookie", Value::Null).await;
    }

    /// What a function with this body returns in the page; promises are waited for.
    pub async fn run(&self, body: &str) -> Value {
        self.must(Method::POST, "/execute/sync", json!({ "script": body, "args": [] })).await
    }

    /// A command of Chromium's own protocol.
    pub async fn command(&self, name: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": name, "params": parameters });
        self.must(Method::POST, "/goog/cdp/execute", body).await
    }

    /// What a screen reader is told of the page: roles and names.
    pub async fn spoken(&self) -> Vec<(String, String)> {
        let tree = self.command("Accessibility.getFullAXTree", json!({})).await;
        let word = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().expect("there is a tree").iter();
        nodes
            .filter(|node| node["ignored"] != true)
            .map(|node| (word(&node["role"]), word(&node["name"])))
            .collect()
    }

    /// What stands in the first frame of the page.
    pub async fn text_in_frame(&self) -> String {
        self.must(Method::POST, "/frame", json!({ "id": 0 })).await;
        let text = self.text("body").await.expect("a document has a body");
        self.must(Method::POST, "/frame", json!({ "id": null })).await;
        text
    }

    /// Keeps a picture of the page, if somebody wants to look at it.
    pub async fn shot(&self, name: &str) {
        let Some(folder) = std::env::var_os(SHOTS).map(PathBuf::from) else { return };
        let picture = text_of(self.must(Method::GET, "/screenshot", Value::Null).await);
        let picture = STANDARD.decode(picture).expect("a picture is Base64");
        std::fs::create_dir_all(&folder).expect("the folder for screenshots can be made");
        std::fs::write(folder.join(format!("{name}.png")), picture).expect("it is writable");
    }

    async fn find(&self, css: &str) -> Result<String, String> {
        let wish = json!({ "using": "css selector", "value": css });
        let found = self.ask(Method::POST, "/element", wish).await.map_err(|error| error.to_string())?;
        Ok(text_of(found[ELEMENT].clone()))
    }

    async fn found(&self, css: &str) -> String {
        await_condition(&format!("the page has {css}"), LIMIT, || self.find(css)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let mut url = format!("http://127.0.0.1:{}/session", self.port);
        if !self.session.is_empty() {
            url += &format!("/{}{path}", self.session);
        }
        let mut request = self.http.request(method.clone(), url);
        if method == Method::POST {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("chromedriver answers");
        let fine = answer.status().is_success();
        let mut answer: Value = answer.json().await.expect("chromedriver speaks JSON");
        let value = answer["value"].take();
        if fine { Ok(value) } else { Err(value) }
    }

    async fn must(&self, method: Method, path: &str, body: Value) -> Value {
        let shown = format!("{method} {path} {body}");
        self.ask(method, path, body).await.unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    fn farewell(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", self.session)?;
        stream.read(&mut [0; 256]).map(|_| ())
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Without a word the driver would leave its browser behind.
        let _ = self.farewell();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The port, in the line with which chromedriver says that it listens.
fn port_in(line: &str) -> Option<u16> {
    let (_, port) = line.split_once("started successfully on port ")?;
    port.trim_end_matches('.').parse().ok()
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => panic!("this is no text: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_says_its_port() {
        let line = "ChromeDriver was started successfully on port 43211.";
        assert_eq!(port_in(line), Some(43211));
        assert_eq!(port_in("Starting ChromeDriver 156.0 on port 0"), None);
    }
}
