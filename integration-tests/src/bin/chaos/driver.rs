//! One pod's users: they do what the script says, and the model notes what it may be afterwards.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use integration_tests::api::{Answer, Caller};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    model::{Contradiction, Model, Outcome, Request, Seen, Wants},
    report::Counts,
    script::{Action, Kind, Script, Step},
};

/// How soon after a request without an answer the pod is read. Whatever carried the request out is dead or has answered
/// by then; only a commit may still be under way.
const SETTLE_AFTER: Duration = Duration::from_secs(2);
/// How long a read may go without a definite answer.
const SETTLE_LIMIT: Duration = Duration::from_secs(240);

/// What the drivers share.
pub struct Stage {
    /// When the run began.
    pub begun: Instant,
    /// Becomes true when no more requests are to be made.
    pub over: watch::Receiver<bool>,
    /// Requests and answers.
    pub counts: Counts,
    /// Whether the pods are pretended ones, told what to do by their images.
    pub scripted: bool,
}

/// A pod, its users and its history.
pub struct Driver {
    stage: Arc<Stage>,
    /// Its id.
    pub pod_id: String,
    owner: Caller,
    partner: Caller,
    shared: bool,
    mark: u32,
    /// What it may be.
    pub model: Model,
    /// What the model could not explain.
    pub violations: Vec<String>,
    history: Arc<Mutex<Vec<String>>>,
}

impl Driver {
    /// A pod that does not exist yet.
    pub fn new(stage: Arc<Stage>, pod_id: String, owner: Caller, partner: Caller) -> Self {
        Self {
            stage,
            pod_id,
            owner,
            partner,
            shared: false,
            mark: 0,
            model: Model::absent(),
            violations: Vec::new(),
            history: Arc::default(),
        }
    }

    /// Does the script's steps until the run is over.
    pub async fn run(mut self, script: Script) -> Self {
        let mut over = self.stage.over.clone();
        for step in script {
            let ended = tokio::time::timeout(step.pause, over.wait_for(|over| *over)).await.is_ok();
            if ended || !self.violations.is_empty() {
                break;
            }
            if let Err(contradiction) = self.step(step).await {
                self.violate(contradiction);
            }
        }
        self
    }

    /// Reads the pod when everything runs again.
    pub async fn settle(&mut self) {
        if let Err(contradiction) = self.read_until_definite().await {
            self.violate(contradiction);
        }
    }

    /// Asks that the pod be deleted, whatever it is; `true` when it is gone or will be.
    pub async fn remove(&self) -> bool {
        let path = format!("/v3/pods/{}", self.pod_id);
        let answer = self.owner.try_send(Method::DELETE, &path, None).await;
        answer.is_ok_and(|answer| matches!(answer.code, 200 | 404))
    }

    /// Everything that was asked and answered, one line each.
    pub fn history(&self) -> Vec<String> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The action log as the API shows it, when it can be had.
    pub async fn action_log(&self) -> Vec<String> {
        let path = format!("/v3/pods/{}/logs", self.pod_id);
        let Ok(answer) = self.owner.try_send(Method::GET, &path, None).await else { return Vec::new() };
        let lines = answer.body["result"]["action_logs"].as_array().cloned().unwrap_or_default();
        lines.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn violate(&mut self, Contradiction(what): Contradiction) {
        self.log(&format!("VIOLATION {what}"));
        self.violations.push(format!("{}: {what}", self.pod_id));
    }

    fn log(&self, what: &str) {
        let line = format!("{:8.3} s  {what}", self.stage.begun.elapsed().as_secs_f64());
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    async fn step(&mut self, step: Step) -> Result<(), Contradiction> {
        let first = self.request(step.action);
        let second = step.beside.map(|action| self.request(action));
        let caller = if step.by_partner && self.shared { &self.partner } else { &self.owner };
        let mut unknown = match second {
            None => {
                let outcome = self.send(caller, first).await?;
                self.model.note(first, outcome)?;
                self.lives_on(first, outcome).await;
                outcome == Outcome::Unknown
            }
            Some(second) => {
                let other = if self.shared { &self.partner } else { &self.owner };
                let (one, two) = tokio::join!(self.send(caller, first), self.send(other, second));
                let (one, two) = (one?, two?);
                self.model.note_both((first, one), (second, two))?;
                self.lives_on(first, one).await;
                self.lives_on(second, two).await;
                // Two accepted requests may have been carried out in either order.
                true
            }
        };
        if unknown {
            tokio::time::sleep(SETTLE_AFTER).await;
        }
        unknown |= step.read;
        if unknown { self.read_until_definite().await } else { Ok(()) }
    }

    fn request(&mut self, action: Action) -> Request {
        let mut mark = || {
            self.mark += 1;
            self.mark
        };
        match action {
            Action::Create { kind, on } => {
                let wants = if on { Wants::On } else { Wants::Off };
                Request::Create { mark: mark(), kind, wants }
            }
            Action::Start => Request::Start,
            Action::Stop => Request::Stop,
            Action::Restart => Request::Restart,
            Action::Update => Request::Update { mark: mark(), to: None },
            Action::UpdateTo(to) => Request::Update { mark: mark(), to: Some(to) },
            Action::Delete => Request::Delete,
        }
    }

    /// After a create the pod is shared; after a deletion its permissions are gone.
    async fn lives_on(&mut self, request: Request, outcome: Outcome) {
        match (request, outcome) {
            (Request::Create { .. }, Outcome::Accepted) => {
                let path = format!("/v3/pods/{}/permissions", self.pod_id);
                let body = json!({ "user": self.partner.name, "level": "ADMIN" });
                let answer = self.owner.try_send(Method::POST, &path, Some(&body)).await;
                self.shared = answer.is_ok_and(|answer| answer.code == 200);
                self.stage.counts.add("grant", if self.shared { "200" } else { "other" });
            }
            (Request::Create { .. }, Outcome::Unknown) | (Request::Delete, _) => self.shared = false,
            _ => {}
        }
    }

    async fn send(&self, caller: &Caller, request: Request) -> Result<Outcome, Contradiction> {
        let (method, path, body) = self.wire(request);
        let name = kind_of(request);
        self.log(&format!("{}: {request:?}", caller.name));
        let answer = caller.try_send(method, &path, body.as_ref()).await;
        let outcome = outcome(&answer);
        let label = match &answer {
            Ok(answer) => answer.code.to_string(),
            Err(_) => "none".to_owned(),
        };
        self.stage.counts.add(name, &label);
        self.log(&format!("{}: {name} -> {label}{}", caller.name, words(&answer)));
        outcome
            .ok_or_else(|| Contradiction(format!("{request:?} was answered with {label}{}", words(&answer))))
    }

    fn wire(&self, request: Request) -> (Method, String, Option<Value>) {
        let id = &self.pod_id;
        let get = |verb: &str| (Method::GET, format!("/v3/pods/{id}/{verb}"), None);
        match request {
            Request::Create { mark, kind, wants } => {
                let mut body = self.definition(kind, mark);
                body["pod_id"] = json!(id);
                body["description"] = json!(format!("chaos {mark}"));
                body["environment_variables"] = json!({ "CHAOS": mark.to_string() });
                body["status_requested"] = json!(if wants == Wants::On { "ON" } else { "OFF" });
                (Method::POST, "/v3/pods".to_owned(), Some(body))
            }
            Request::Start => get("start"),
            Request::Stop => get("stop"),
            Request::Restart => get("restart"),
            Request::Update { mark, to } => {
                let mut body = json!({ "environment_variables": { "CHAOS": mark.to_string() } });
                body["description"] = json!(format!("chaos {mark}"));
                if let Some(to) = to {
                    body["status_requested"] = json!(to);
                }
                (Method::PUT, format!("/v3/pods/{id}"), Some(body))
            }
            Request::Delete => (Method::DELETE, format!("/v3/pods/{id}"), None),
        }
    }

    fn definition(&self, kind: Kind, mark: u32) -> Value {
        let shell = |script: &str| json!({ "image": "busybox", "command": ["sh", "-c", script] });
        match kind {
            Kind::Httpd => json!({ "image": "busyhttpd" }),
            Kind::Ticker => shell(&format!(
                "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo {mark} line $i; sleep 1; done"
            )),
            Kind::Job if self.stage.scripted => json!({ "image": "scripted/run-5" }),
            Kind::Job => {
                shell("i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo line $i; sleep 0.2; done; echo end")
            }
        }
    }

    async fn read_until_definite(&mut self) -> Result<(), Contradiction> {
        let begun = Instant::now();
        let path = format!("/v3/pods/{}", self.pod_id);
        loop {
            let answer = self.owner.try_send(Method::GET, &path, None).await;
            self.stage.counts.add("read", &answer.as_ref().map_or("none".to_owned(), |a| a.code.to_string()));
            match outcome(&answer) {
                Some(Outcome::Accepted) => {
                    let pod = answer.map(|answer| answer.body["result"].clone()).unwrap_or_default();
                    let seen = seen(&pod).ok_or_else(|| {
                        Contradiction(format!("a read showed a pod that is not ours: {pod}"))
                    })?;
                    self.log(&format!(
                        "read -> {seen:?} {} {}",
                        pod["status"], pod["status_container"]["code"]
                    ));
                    return self.model.read(Some(seen));
                }
                Some(Outcome::Absent) => {
                    self.log("read -> 404");
                    return self.model.read(None);
                }
                _ if begun.elapsed() > SETTLE_LIMIT => {
                    return Err(Contradiction("no read was answered for four minutes".to_owned()));
                }
                _ => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }
}

/// What an answer says; `None` when nobody could have expected it.
fn outcome(answer: &Result<Answer, reqwest::Error>) -> Option<Outcome> {
    let Ok(answer) = answer else { return Some(Outcome::Unknown) };
    // Anything that is not our envelope comes from a proxy whose backend is away.
    let ours = answer.body["status"].is_string() && answer.body["version"].is_string();
    match answer.code {
        _ if !ours => Some(Outcome::Unknown),
        200 => Some(Outcome::Accepted),
        404 => Some(Outcome::Absent),
        409 => Some(Outcome::Conflict),
        500.. => Some(Outcome::Unknown),
        _ => None,
    }
}

fn words(answer: &Result<Answer, reqwest::Error>) -> String {
    let mut text = String::new();
    match answer {
        Ok(answer) if answer.code != 200 => {
            let _ = write!(text, " {}", answer.body["message"]);
        }
        Ok(answer) => {
            let _ = write!(text, " {}", answer.body["result"]["status"]);
        }
        Err(error) => {
            let _ = write!(text, " ({error})");
        }
    }
    text
}

fn kind_of(request: Request) -> &'static str {
    match request {
        Request::Create { .. } => "create",
        Request::Start => "start",
        Request::Stop => "stop",
        Request::Restart => "restart",
        Request::Update { to: None, .. } => "update",
        Request::Update { .. } => "update with status",
        Request::Delete => "delete",
    }
}

/// What the answer of a read says of the pod.
pub fn seen(pod: &Value) -> Option<Seen> {
    let mark = mark(pod["description"].as_str()?)?;
    let wants = if pod["status_requested"] == "OFF" { Wants::Off } else { Wants::On };
    Some(Seen { mark, wants })
}

/// The number of the last write, in a description.
pub fn mark(description: &str) -> Option<u32> {
    description.strip_prefix("chaos ")?.parse().ok()
}
