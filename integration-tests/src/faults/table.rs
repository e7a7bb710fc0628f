//! The table as it is written down, and the judgement of one answer. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::{inject::Injector, watch::Sight};

/// All faults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// In the order in which people read them.
    pub faults: Vec<Fault>,
}

/// One fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its name; pods of the test carry it.
    pub id: String,
    /// What somebody did wrong, or what broke.
    pub fault: String,
    /// The heading that it stands under.
    pub group: String,
    /// Who says what a node would say.
    pub cluster: ClusterKind,
    /// Whether a part that others use is stopped.
    #[serde(default)]
    pub alone: bool,
    /// Whether the short form leaves it out.
    #[serde(default)]
    pub long: bool,
    /// Whether the pod must be AVAILABLE by itself once the fault is over.
    #[serde(default)]
    pub heals: bool,
    /// What is done besides creating the pod.
    pub injector: Injector,
    /// The body of the request, without `pod_id`.
    pub pod: Value,
    /// When Kubernetes knows.
    pub known: Known,
    /// How long the fault may take to come about.
    #[serde(default = "limit_seconds")]
    pub limit_seconds: u64,
    /// What must be said.
    pub expect: Expect,
    /// What it means, for people.
    pub means: String,
    /// What to do, for people.
    #[serde(rename = "do")]
    pub todo: String,
}

/// Who says what a node would say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterKind {
    /// A kubelet.
    Real,
    /// The test.
    Scripted,
}

/// What the watch of Kubernetes shows first.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Known {
    /// The container waits for one of these reasons.
    pub waiting: Vec<String>,
    /// The container ended.
    pub ended: bool,
    /// The Pod failed.
    pub failed: bool,
    /// So many Pods of the pod failed, one after the other.
    pub failed_times: usize,
    /// No node was found.
    pub unschedulable: bool,
    /// The Pod is being deleted or is gone.
    pub deleting: bool,
    /// An event of this reason.
    pub event: Option<String>,
    /// The node of the Pod does not answer.
    pub node_unknown: bool,
    /// Kubernetes never knows: the fault counts from its injection.
    pub injected: bool,
}

/// What must be said.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The stable code.
    pub code: String,
    /// Who can act, as alice is told who owns the pod.
    pub who_can_act: String,
    /// Words of the message, in any case.
    pub message: Vec<String>,
    /// Where the pod may be meanwhile.
    pub status: Vec<String>,
}

fn limit_seconds() -> u64 {
    60
}

impl Table {
    /// The table of this repository.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn load() -> Self {
        // By way of JSON: YAML has a spelling of its own for variants with content.
        let value: Value = serde_yaml_ng::from_str(include_str!("../../faults/faults.yaml"))
            .unwrap_or_else(|error| panic!("faults.yaml: {error}"));
        serde_json::from_value(value).unwrap_or_else(|error| panic!("faults.yaml: {error}"))
    }
}

impl Known {
    /// Whether this is what makes the fault known.
    pub fn is(&self, sight: &Sight) -> bool {
        match sight {
            Sight::Waiting(reason) => self.waiting.contains(reason),
            Sight::Ended => self.ended,
            Sight::Failed => self.failed,
            Sight::Unschedulable => self.unschedulable,
            Sight::Deleting => self.deleting,
            Sight::Event(reason) => self.event.as_ref() == Some(reason),
        }
    }
}

impl Expect {
    /// Compares an answer of `explain`. A loss that has healed is found in `last_loss`; the pod is well again then,
    /// and nobody has to act.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub fn judge(&self, answer: &Value) -> Result<(), String> {
        let status = text(answer, "status");
        let healed = text(answer, "code") != self.code && text(&answer["last_loss"], "code") == self.code;
        let told = if healed { &answer["last_loss"] } else { answer };
        if text(told, "code") != self.code {
            return Err(format!("code {} instead of {}", answer["code"], self.code));
        }
        if !self.status.iter().any(|expected| expected == status) {
            return Err(format!("status {status} instead of {:?}", self.status));
        }
        let message = text(told, "message").to_lowercase();
        if let Some(word) = self.message.iter().find(|word| !message.contains(&word.to_lowercase())) {
            return Err(format!("the message lacks {word:?}: {message:?}"));
        }
        let who = text(answer, "who_can_act");
        if !healed && who != self.who_can_act {
            return Err(format!("who_can_act {who} instead of {}", self.who_can_act));
        }
        Ok(())
    }
}

/// What no answer should have: names of inner parts, paths of a node, a next call that leads nowhere, phases out of
/// order.
pub fn remarks(answer: &Value, pod_id: &str) -> Vec<String> {
    const INTERNAL: [&str; 8] = [
        "/run/",
        "/var/lib/",
        "kubelet/pods",
        ".dev/",
        "rpc error",
        "OCI runtime",
        "shim task",
        "localhost:154",
    ];
    let mut remarks = Vec::new();
    let words = answer.to_string();
    for part in INTERNAL.iter().filter(|part| words.contains(*part)) {
        remarks.push(format!("an inner part is named, {part:?}: {}", answer["message"]));
    }
    let call = &answer["next_call"];
    if !call.is_null() {
        let known =
            match (text(call, "method"), text(call, "path").strip_prefix(&format!("/v3/pods/{pod_id}"))) {
                ("PUT", Some("")) => true,
                ("GET", Some(rest)) => ["/start", "/restart", "/logs", "/events"].contains(&rest),
                _ => false,
            };
        if !known || text(call, "why").is_empty() {
            remarks.push(format!("the next call leads nowhere: {call}"));
        }
    }
    let phases = answer["phases"].as_array().cloned().unwrap_or_default();
    let times: Vec<&str> = phases.iter().map(|phase| text(phase, "at")).collect();
    if !times.is_sorted() {
        remarks.push(format!("the phases are out of order: {}", answer["phases"]));
    }
    remarks
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn expect() -> Expect {
        Expect {
            code: "evicted".into(),
            who_can_act: "nobody".into(),
            message: vec!["memory".into()],
            status: vec!["REQUESTED".into(), "AVAILABLE".into()],
        }
    }

    #[test]
    fn an_answer_must_have_everything() {
        let good = json!({ "status": "REQUESTED", "code": "evicted", "message": "Low on Memory.", "who_can_act": "nobody" });
        assert_eq!(expect().judge(&good), Ok(()));
        for (key, wrong) in
            [("status", "ERROR"), ("code", "vanished"), ("message", "Evicted."), ("who_can_act", "you")]
        {
            let mut bad = good.clone();
            bad[key] = json!(wrong);
            assert!(expect().judge(&bad).is_err(), "{key}");
        }
        assert!(expect().judge(&Value::Null).is_err());
    }

    #[test]
    fn a_loss_that_has_healed_is_found() {
        let mut healed = json!({ "status": "AVAILABLE", "code": "running", "message": "It runs.", "who_can_act": "you",
            "last_loss": { "code": "evicted", "message": "low on memory" } });
        assert_eq!(expect().judge(&healed), Ok(()));
        healed["last_loss"]["code"] = json!("vanished");
        assert!(expect().judge(&healed).is_err());
    }

    #[test]
    fn answers_with_inner_parts_or_dead_ends_are_remarked() {
        let good = json!({ "message": "The image has no such program.", "phases": [
            { "name": "accepted", "at": "2026-01-01T00:00:00Z" }, { "name": "taken", "at": "2026-01-01T00:00:01Z" }],
            "next_call": { "method": "PUT", "path": "/v3/pods/web", "why": "correct command" } });
        assert_eq!(remarks(&good, "web"), [""; 0]);
        let mut bad = good.clone();
        bad["message"] = json!("rpc error: code = Unknown desc = /run/containerd");
        assert_eq!(remarks(&bad, "web").len(), 2);
        assert_eq!(remarks(&good, "other").len(), 1);
        let mut bad = good;
        bad["phases"][1]["at"] = json!("2025-01-01T00:00:00Z");
        assert_eq!(remarks(&bad, "web").len(), 1);
    }

    #[test]
    fn the_table_is_large_enough_and_names_codes_that_exist() {
        let table = Table::load();
        let ids: BTreeSet<&str> = table.faults.iter().map(|fault| fault.id.as_str()).collect();
        assert_eq!(ids.len(), table.faults.len(), "ids are unique");
        let real = table.faults.iter().filter(|fault| fault.cluster == ClusterKind::Real).count();
        assert!(table.faults.len() >= 30 && real >= 20, "{real} of {}", table.faults.len());
        let lifecycle = include_str!("../../../docs/lifecycle.md");
        for fault in &table.faults {
            let row = format!("| `{}` |", fault.expect.code);
            assert!(lifecycle.contains(&row), "{}: docs/lifecycle.md has no {}", fault.id, fault.expect.code);
            assert!(["you", "owner", "operator", "nobody"].contains(&fault.expect.who_can_act.as_str()));
        }
    }

    const GROUPS: [(&str, &str, &str); 8] = [
        ("Image", "The image", ""),
        ("Container", "The container", ""),
        ("Probes", "Probes", ""),
        ("Placement", "A place to run", ""),
        ("References", "What the pod refers to", ""),
        (
            "Losses",
            "Pods that are taken away",
            "A pod that was taken away is started again by itself ([lifecycle.md](lifecycle.md)); `last_loss` keeps\nsaying why.",
        ),
        ("Node", "The node", ""),
        (
            "Service",
            "The service itself",
            "None of these harms a pod that runs. What was asked for is kept, and goes on by itself.",
        ),
    ];
    const MARK: &str =
        "<!-- From here on written by UPDATE_FAULTS=1 cargo test -p integration-tests --lib -->\n";

    #[test]
    fn the_page_for_people_says_what_the_table_says() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");
        let page = std::fs::read_to_string(file).unwrap();
        let introduction = page.split(MARK).next().unwrap();
        let wanted = format!("{introduction}{MARK}{}", sections(&Table::load()));
        if std::env::var_os("UPDATE_FAULTS").is_some() {
            std::fs::write(file, wanted).unwrap();
        } else {
            assert!(page == wanted, "docs/faults.md is not what the table says: {MARK}");
        }
    }

    fn sections(table: &Table) -> String {
        let mut text = String::new();
        for (group, heading, note) in GROUPS {
            text.push_str(&format!("\n## {heading}\n\n"));
            if !note.is_empty() {
                text.push_str(&format!("{note}\n\n"));
            }
            text.push_str("| What happened | `code` | Who acts | What it means | What to do | Tested |\n");
            text.push_str("|---|---|---|---|---|---|\n");
            for fault in table.faults.iter().filter(|fault| fault.group == group) {
                let cluster = if fault.cluster == ClusterKind::Real { "real" } else { "scripted" };
                let Expect { code, who_can_act, .. } = &fault.expect;
                let Fault { fault, means, todo, .. } = fault;
                text.push_str(&format!(
                    "| {fault} | `{code}` | {who_can_act} | {means} | {todo} | {cluster} |\n"
                ));
            }
        }
        let rows = text.lines().filter(|line| line.contains(" | `")).count() - GROUPS.len();
        assert_eq!(rows, table.faults.len(), "every fault belongs to a group");
        text
    }
}
