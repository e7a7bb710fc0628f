//! One stored object: its JSON, and what is looked at without reading that.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::resource::Resource;

/// Namespace and name as `namespace/name`; the namespace of a kind without one is empty.
pub type Key = Arc<str>;

/// The key of an object.
pub fn key(namespace: &str, name: &str) -> Key {
    format!("{namespace}/{name}").into()
}

/// A version of an object. Kept as the bytes that answers consist of: a list of thousands is copied, not written anew.
#[derive(Debug)]
pub struct Object {
    /// Where it is.
    pub key: Key,
    /// The uid that the server gave it.
    pub uid: Box<str>,
    /// Its resource version.
    pub version: u64,
    /// Its labels.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// What field selectors of its kind can ask for.
    pub fields: Vec<(&'static str, Box<str>)>,
    /// uids of its owners.
    pub owners: Vec<Box<str>>,
    /// All of it.
    pub json: Bytes,
}

/// Fields that selectors can ask for, beside the name and the namespace.
fn selectable(resource: &Resource) -> &'static [(&'static str, &'static str)] {
    match resource.plural {
        "pods" => &[
            ("spec.nodeName", "/spec/nodeName"),
            ("spec.restartPolicy", "/spec/restartPolicy"),
            ("status.phase", "/status/phase"),
            ("status.podIP", "/status/podIP"),
        ],
        "events" => &[
            ("involvedObject.kind", "/involvedObject/kind"),
            ("involvedObject.namespace", "/involvedObject/namespace"),
            ("involvedObject.name", "/involvedObject/name"),
            ("involvedObject.uid", "/involvedObject/uid"),
            ("reason", "/reason"),
            ("type", "/type"),
        ],
        "secrets" => &[("type", "/type")],
        _ => &[],
    }
}

impl Object {
    /// The stored form of an object, whose `metadata` is complete.
    pub fn new(resource: &Resource, version: u64, value: &mut Value) -> Self {
        value["metadata"]["resourceVersion"] = json!(version.to_string());
        let text = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
        let owners = value["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        Self {
            key: key(text("/metadata/namespace"), text("/metadata/name")),
            uid: text("/metadata/uid").into(),
            version,
            labels: labels
                .map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into()))
                .collect(),
            fields: selectable(resource).iter().map(|(name, at)| (*name, text(at).into())).collect(),
            owners: owners.filter_map(|owner| owner["uid"].as_str().map(Into::into)).collect(),
            json: value.to_string().into(),
        }
    }

    /// All of it, to be changed.
    pub fn value(&self) -> Value {
        // It was written by us from a value.
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or("", |(_, name)| name)
    }

    /// Only the metadata, for clients that ask for no more.
    pub fn metadata_only(&self) -> Bytes {
        let value = self.value();
        let partial = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": value["metadata"],
        });
        partial.to_string().into()
    }
}
