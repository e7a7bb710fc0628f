//! The objects and their history.

use std::collections::{BTreeMap, VecDeque};

use chrono::Utc;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

/// Kind and name of an object.
pub(super) type Key = (String, String);

/// A change, as watches report it.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub version: u64,
    pub action: &'static str,
    pub kind: String,
    pub object: Value,
}

/// An error answer.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
}

pub(super) struct Store {
    pub objects: BTreeMap<Key, Value>,
    pub events: VecDeque<Event>,
    pub version: u64,
    /// Counts changes, for those who wait for one.
    pub changed: watch::Sender<u64>,
    pub logs: BTreeMap<String, Vec<u8>>,
    pub runs_by_itself: bool,
    pub keeps_deleted_pods: bool,
}

impl Store {
    pub fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            events: VecDeque::new(),
            version: 100,
            changed: watch::Sender::new(0),
            logs: BTreeMap::new(),
            runs_by_itself: false,
            keeps_deleted_pods: false,
        }
    }

    pub fn get(&self, kind: &str, name: &str) -> Result<Value, Refusal> {
        let found = self.objects.get(&(kind.to_owned(), name.to_owned()));
        found.cloned().ok_or_else(|| gone(kind, name))
    }

    pub fn list(&self, kind: &str, selector: &str) -> Vec<Value> {
        let of_kind = self.objects.iter().filter(|((k, _), _)| k == kind);
        of_kind.filter(|(_, object)| matches(object, selector)).map(|(_, object)| object.clone()).collect()
    }

    pub fn create(&mut self, kind: &str, mut object: Value) -> Result<Value, Refusal> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if self.objects.contains_key(&(kind.to_owned(), name.clone())) {
            let message = format!("{kind} \"{name}\" already exists");
            return Err(Refusal { code: 409, reason: "AlreadyExists", message });
        }
        object["metadata"]["uid"] = json!(Uuid::new_v4());
        object["metadata"]["creationTimestamp"] = json!(Utc::now().to_rfc3339());
        if kind == "pods" {
            object["status"] = json!({"phase": "Pending"});
        }
        let stored = self.put("ADDED", kind, &name, object);
        if kind == "pods" && self.runs_by_itself {
            return Ok(self.set_running(&name).unwrap_or(stored));
        }
        Ok(stored)
    }

    pub fn patch(&mut self, kind: &str, name: &str, patch: &Value) -> Result<Value, Refusal> {
        let mut object = self.get(kind, name)?;
        check_uid(&object, patch["metadata"]["uid"].as_str())?;
        merge(&mut object, patch);
        let ends = kind == "pods" && patch["spec"]["activeDeadlineSeconds"].is_number();
        let stored = self.put("MODIFIED", kind, name, object);
        if ends && self.runs_by_itself {
            self.end_by_deadline(name);
        }
        Ok(stored)
    }

    pub fn delete(&mut self, kind: &str, name: &str, options: &Value) -> Result<Value, Refusal> {
        let mut object = self.get(kind, name)?;
        check_uid(&object, options["preconditions"]["uid"].as_str())?;
        let grace = options["gracePeriodSeconds"]
            .as_i64()
            .unwrap_or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30));
        if kind == "pods" && grace > 0 && self.keeps_deleted_pods {
            if object["metadata"]["deletionTimestamp"].is_null() {
                let until = Utc::now() + chrono::TimeDelta::seconds(grace);
                object["metadata"]["deletionTimestamp"] = json!(until.to_rfc3339());
                object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            }
            return Ok(self.put("MODIFIED", kind, name, object));
        }
        Ok(self.remove(kind, name).unwrap_or(object))
    }

    /// Removes an object and what it owns.
    pub fn remove(&mut self, kind: &str, name: &str) -> Option<Value> {
        let mut object = self.objects.remove(&(kind.to_owned(), name.to_owned()))?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.report("DELETED", kind, object.clone());
        self.logs.remove(name).filter(|_| kind == "pods");
        let uid = object["metadata"]["uid"].clone();
        let owned: Vec<Key> = self
            .objects
            .iter()
            .filter(|(_, other)| other["metadata"]["ownerReferences"][0]["uid"] == uid && !uid.is_null())
            .map(|(key, _)| key.clone())
            .collect();
        for (kind, name) in owned {
            self.remove(&kind, &name);
        }
        Some(object)
    }

    pub fn put(&mut self, action: &'static str, kind: &str, name: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert((kind.to_owned(), name.to_owned()), object.clone());
        self.report(action, kind, object.clone());
        object
    }

    fn report(&mut self, action: &'static str, kind: &str, object: Value) {
        self.events.push_back(Event { version: self.version, action, kind: kind.to_owned(), object });
        self.touch();
    }

    pub fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

/// Whether an object's labels fit a selector of `key=value` terms.
pub(super) fn matches(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
        Some((key, value)) => object["metadata"]["labels"][key] == value,
        None => !object["metadata"]["labels"][term].is_null(),
    })
}

fn gone(kind: &str, name: &str) -> Refusal {
    Refusal { code: 404, reason: "NotFound", message: format!("{kind} \"{name}\" not found") }
}

fn check_uid(object: &Value, wanted: Option<&str>) -> Result<(), Refusal> {
    match wanted {
        Some(uid) if object["metadata"]["uid"] != uid => {
            let message = "Precondition failed: UID in precondition does not match".to_owned();
            Err(Refusal { code: 409, reason: "Conflict", message })
        }
        _ => Ok(()),
    }
}

/// JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Value::Object(target) = target {
                target.remove(key);
            }
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}
