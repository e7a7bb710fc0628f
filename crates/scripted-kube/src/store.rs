//! The objects and their history, with the rules of the API server about names, versions and deletion.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    object::{Key, Object, key},
    patch,
    refusal::Refusal,
    resource::{RESOURCES, Resource},
    selector::Selector,
};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Added,
    /// It looks different.
    Modified,
    /// It is gone.
    Deleted,
}

/// A change, as watches report it.
#[derive(Debug, Clone)]
pub struct Change {
    /// The version that it made.
    pub version: u64,
    /// What happened.
    pub action: Action,
    /// The object, after an `Added` or `Modified`; the last form of a `Deleted`.
    pub object: Arc<Object>,
    /// What it was before.
    pub before: Option<Arc<Object>>,
}

/// All objects of a kind.
#[derive(Debug)]
pub struct Table {
    /// The kind.
    pub resource: &'static Resource,
    /// In the order of lists.
    pub objects: BTreeMap<Key, Arc<Object>>,
    labelled: HashMap<(Box<str>, Box<str>), BTreeSet<Key>>,
    /// The newest changes.
    pub history: VecDeque<Change>,
    history_bytes: usize,
    /// Changes up to this version are forgotten.
    pub compacted: u64,
    /// Tells watches of a new version.
    pub changed: watch::Sender<u64>,
}

/// How many bytes of history a kind keeps at most.
const HISTORY_BYTES: usize = 48 * 1024 * 1024;

impl Table {
    fn new(resource: &'static Resource) -> Self {
        Self {
            resource,
            objects: BTreeMap::new(),
            labelled: HashMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            compacted: 0,
            changed: watch::Sender::new(0),
        }
    }

    /// The objects after a key that fit, in order.
    pub fn select<'a>(
        &'a self,
        namespace: &'a str,
        selector: &'a Selector,
        after: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        // The label that the fewest objects have.
        let narrow = selector
            .equalities()
            .map(|(key, value)| self.labelled.get(&(key.into(), value.into())))
            .min_by_key(|found| found.map_or(0, BTreeSet::len));
        let keys: Box<dyn Iterator<Item = &'a Arc<Object>>> = match narrow {
            None => Box::new(self.objects.values()),
            Some(None) => Box::new(std::iter::empty()),
            Some(Some(keys)) => Box::new(keys.iter().filter_map(|key| self.objects.get(key))),
        };
        keys.filter(move |object| {
            (namespace.is_empty() || object.namespace() == namespace)
                && (after.is_empty() || &*object.key > after)
                && selector.matches(object)
        })
    }

    /// Changes after a version.
    pub fn since(&self, version: u64) -> impl Iterator<Item = &Change> {
        let first = self.history.partition_point(|change| change.version <= version);
        self.history.range(first..)
    }

    /// Forgets the history: whoever resumes later has to list again.
    pub fn compact(&mut self) {
        if let Some(last) = self.history.back() {
            self.compacted = last.version;
        }
        self.history.clear();
        self.history_bytes = 0;
    }

    fn index(&mut self, object: &Arc<Object>) {
        for (key, value) in &object.labels {
            self.labelled.entry((key.clone(), value.clone())).or_default().insert(Arc::clone(&object.key));
        }
    }

    fn unindex(&mut self, object: &Object) {
        for (label, value) in &object.labels {
            let entry = (label.clone(), value.clone());
            if let Some(keys) = self.labelled.get_mut(&entry) {
                keys.remove(&object.key);
                if keys.is_empty() {
                    self.labelled.remove(&entry);
                }
            }
        }
    }

    fn record(&mut self, change: Change, limit: usize) {
        let version = change.version;
        self.history_bytes += change.object.json.len();
        self.history.push_back(change);
        while (self.history.len() > limit || self.history_bytes > HISTORY_BYTES)
            && let Some(old) = self.history.pop_front()
        {
            self.history_bytes -= old.object.json.len();
            self.compacted = old.version;
        }
        self.changed.send_replace(version);
    }
}

/// What a deletion led to.
#[derive(Debug)]
pub enum Deleted {
    /// It is gone.
    Gone(Arc<Object>),
    /// It stays for its grace period, or until its finalizers are gone.
    Marked(Arc<Object>),
}

impl Deleted {
    /// The object as it is answered.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Self::Gone(object) | Self::Marked(object) => object,
        }
    }
}

/// Everything that the server stores.
#[derive(Debug)]
pub struct Store {
    tables: Vec<Table>,
    /// The newest version.
    pub version: u64,
    /// How many changes of a kind are remembered.
    pub history_limit: usize,
    owned: HashMap<Box<str>, BTreeSet<(usize, Key)>>,
    addresses: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            tables: RESOURCES.iter().map(Table::new).collect(),
            version: 100,
            history_limit: 20_000,
            owned: HashMap::new(),
            addresses: 0,
        }
    }

    fn at(resource: &Resource) -> usize {
        RESOURCES.iter().position(|known| known == resource).unwrap_or_default()
    }

    /// The objects of a kind.
    pub fn table(&self, resource: &Resource) -> &Table {
        &self.tables[Self::at(resource)]
    }

    /// The objects of a kind.
    pub fn table_mut(&mut self, resource: &Resource) -> &mut Table {
        &mut self.tables[Self::at(resource)]
    }

    /// All kinds.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// One object.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Object>, Refusal> {
        let found = self.table(resource).objects.get(&*key(namespace, name));
        found.cloned().ok_or_else(|| Refusal::not_found(resource.plural, name))
    }

    /// Creates an object.
    ///
    /// # Errors
    /// 409 when the name is taken, 404 when the namespace does not exist, 422 when it has no name.
    pub fn create(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        mut value: Value,
    ) -> Result<Arc<Object>, Refusal> {
        let namespaces = &RESOURCES[Self::at(Resource::of_kind("Namespace").unwrap_or(resource))];
        if resource.namespaced && !self.table(namespaces).objects.contains_key(&*key("", namespace)) {
            return Err(Refusal::not_found("namespaces", namespace));
        }
        let meta = &value["metadata"];
        let name = match (meta["name"].as_str(), meta["generateName"].as_str()) {
            (Some(name), _) if !name.is_empty() => name.to_owned(),
            (_, Some(prefix)) if !prefix.is_empty() => {
                let random = Uuid::new_v4().simple().to_string();
                format!("{prefix}{}", &random[..5])
            }
            _ => {
                let why = "metadata.name: Required value: name or generateName is required";
                return Err(Refusal::invalid(resource.kind, "", why));
            }
        };
        if self.table(resource).objects.contains_key(&*key(namespace, &name)) {
            return Err(Refusal::exists(resource.plural, &name));
        }
        value["apiVersion"] = json!(resource.api_version());
        value["kind"] = json!(resource.kind);
        let meta = &mut value["metadata"];
        meta["name"] = json!(name);
        if resource.namespaced {
            meta["namespace"] = json!(namespace);
        }
        meta["uid"] = json!(Uuid::new_v4());
        meta["creationTimestamp"] = json!(now());
        if let Value::Object(meta) = meta {
            for of_the_server in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
                meta.remove(of_the_server);
            }
        }
        self.defaults(resource, &mut value);
        Ok(self.put(resource, value))
    }

    /// What the API server fills in.
    fn defaults(&mut self, resource: &Resource, value: &mut Value) {
        match resource.plural {
            "pods" => {
                value["status"] = json!({"phase": "Pending", "qosClass": "Burstable"});
                let spec = &mut value["spec"];
                for (field, default) in [
                    ("restartPolicy", json!("Always")),
                    ("terminationGracePeriodSeconds", json!(30)),
                    ("dnsPolicy", json!("ClusterFirst")),
                    ("schedulerName", json!("default-scheduler")),
                ] {
                    if spec[field].is_null() {
                        spec[field] = default;
                    }
                }
            }
            "services" if value["spec"]["clusterIP"].is_null() => {
                self.addresses += 1;
                let [_, b, c, d] = self.addresses.to_be_bytes();
                value["spec"]["clusterIP"] = json!(format!("10.{}.{c}.{d}", 96_u8.wrapping_add(b)));
            }
            "namespaces" => value["status"] = json!({"phase": "Active"}),
            _ => {}
        }
    }

    /// Stores an object as it is, new or changed.
    pub fn put(&mut self, resource: &'static Resource, mut value: Value) -> Arc<Object> {
        self.version += 1;
        let version = self.version;
        let object = Arc::new(Object::new(resource, version, &mut value));
        let limit = self.history_limit;
        let place = Self::at(resource);
        for owner in &object.owners {
            self.owned.entry(owner.clone()).or_default().insert((place, Arc::clone(&object.key)));
        }
        let table = &mut self.tables[place];
        let before = table.objects.insert(Arc::clone(&object.key), Arc::clone(&object));
        if before.as_ref().is_none_or(|before| before.labels != object.labels) {
            if let Some(before) = &before {
                table.unindex(before);
            }
            table.index(&object);
        }
        let action = if before.is_some() { Action::Modified } else { Action::Added };
        table.record(Change { version, action, object: Arc::clone(&object), before }, limit);
        object
    }

    /// Changes an object.
    ///
    /// # Errors
    /// 404, 409 when the patch names another uid or version, or what the change itself refuses.
    pub fn update(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value) -> Result<(), Refusal>,
    ) -> Result<Arc<Object>, Refusal> {
        let before = self.get(resource, namespace, name)?;
        let old = before.value();
        let mut value = old.clone();
        change(&mut value)?;
        check(&before, value["metadata"]["uid"].as_str(), value["metadata"]["resourceVersion"].as_str())?;
        for fixed in
            ["name", "namespace", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
        {
            if !old["metadata"][fixed].is_null() {
                value["metadata"][fixed] = old["metadata"][fixed].clone();
            }
        }
        if value == old {
            return Ok(before);
        }
        let ends = !value["metadata"]["deletionTimestamp"].is_null() && resource.plural != "pods";
        let object = self.put(resource, value);
        if ends && !has_finalizers(&object.value()) {
            self.remove(resource, namespace, name);
        }
        Ok(object)
    }

    /// Applies a patch; an apply creates what is absent.
    ///
    /// # Errors
    /// As [`Store::update`] and [`patch::apply`].
    pub fn patch(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Arc<Object>, Refusal> {
        let absent = self.get(resource, namespace, name).is_err();
        if absent && content_type.starts_with("application/apply-patch") {
            return self.create(resource, namespace, body.clone());
        }
        self.update(resource, namespace, name, |value| patch::apply(content_type, value, body))
    }

    /// Deletes an object, or marks it. `grace` is how long a Pod stays; 0 removes it at once.
    ///
    /// # Errors
    /// 404, or 409 when a precondition does not hold.
    pub fn delete(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        preconditions: &Value,
        grace: i64,
    ) -> Result<Deleted, Refusal> {
        let object = self.get(resource, namespace, name)?;
        check(&object, preconditions["uid"].as_str(), preconditions["resourceVersion"].as_str())?;
        let mut value = object.value();
        let stays = grace > 0 || has_finalizers(&value);
        if !stays {
            let gone = self.remove(resource, namespace, name);
            return Ok(Deleted::Gone(gone.unwrap_or(object)));
        }
        let meta = &mut value["metadata"];
        let sooner = meta["deletionGracePeriodSeconds"].as_i64().is_none_or(|known| grace < known);
        if sooner {
            let until = Utc::now() + TimeDelta::seconds(grace);
            meta["deletionTimestamp"] = json!(until.to_rfc3339_opts(SecondsFormat::Secs, true));
            meta["deletionGracePeriodSeconds"] = json!(grace);
            return Ok(Deleted::Marked(self.put(resource, value)));
        }
        Ok(Deleted::Marked(object))
    }

    /// Removes an object and what it owns.
    pub fn remove(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Object>> {
        let place = Self::at(resource);
        let last = self.tables[place].objects.remove(&*key(namespace, name))?;
        self.version += 1;
        let version = self.version;
        for owner in &last.owners {
            if let Some(owned) = self.owned.get_mut(owner) {
                owned.remove(&(place, Arc::clone(&last.key)));
            }
        }
        let object = Arc::new(Object::new(resource, version, &mut last.value()));
        let limit = self.history_limit;
        let table = &mut self.tables[place];
        table.unindex(&last);
        let before = Some(Arc::clone(&last));
        table.record(Change { version, action: Action::Deleted, object: Arc::clone(&object), before }, limit);
        for (place, key) in self.owned.remove(&last.uid).into_iter().flatten() {
            if let Some((namespace, name)) = key.split_once('/') {
                self.remove(&RESOURCES[place], namespace, name);
            }
        }
        Some(object)
    }
}

fn has_finalizers(value: &Value) -> bool {
    value["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

fn check(object: &Object, uid: Option<&str>, version: Option<&str>) -> Result<(), Refusal> {
    if uid.is_some_and(|uid| uid != &*object.uid) {
        return Err(Refusal::conflict(format!(
            "Operation cannot be fulfilled on \"{}\": Precondition failed: UID in precondition: {}, UID in object meta: {}",
            object.name(),
            uid.unwrap_or_default(),
            object.uid
        )));
    }
    if version.is_some_and(|version| !version.is_empty() && version != object.version.to_string()) {
        return Err(Refusal::conflict(format!(
            "Operation cannot be fulfilled on \"{}\": the object has been modified; please apply your changes to the \
             latest version and try again",
            object.name()
        )));
    }
    Ok(())
}

/// The present as Kubernetes writes it.
pub fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> &'static Resource {
        Resource::named("pods").unwrap()
    }

    fn store() -> Store {
        let mut store = Store::new();
        let namespaces = Resource::named("namespaces").unwrap();
        store.create(namespaces, "", json!({"metadata": {"name": "n"}})).unwrap();
        store
    }

    fn named(name: &str, label: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"app": label}}, "spec": {}})
    }

    #[test]
    fn names_are_unique_and_preconditions_hold() {
        let mut store = store();
        let made = store.create(pods(), "n", named("a", "x")).unwrap();
        assert_eq!(store.create(pods(), "n", named("a", "x")).unwrap_err().reason, "AlreadyExists");
        assert_eq!(store.create(pods(), "other", named("a", "x")).unwrap_err().code, 404);
        let other = json!({"uid": "another"});
        assert_eq!(store.delete(pods(), "n", "a", &other, 0).unwrap_err().code, 409);
        let old = json!({"metadata": {"resourceVersion": "1"}});
        let kind = "application/merge-patch+json";
        assert_eq!(store.patch(pods(), "n", "a", kind, &old).unwrap_err().code, 409);
        let same =
            store.patch(pods(), "n", "a", kind, &json!({"metadata": {"labels": {"app": "x"}}})).unwrap();
        assert_eq!(same.version, made.version, "what changes nothing makes no version");
        let mine = json!({"uid": &*made.uid});
        assert!(matches!(store.delete(pods(), "n", "a", &mine, 0).unwrap(), Deleted::Gone(_)));
    }

    #[test]
    fn what_is_owned_goes_with_its_owner_and_indexes_follow_labels() {
        let mut store = store();
        let owner = store.create(pods(), "n", named("a", "x")).unwrap();
        let secrets = Resource::named("secrets").unwrap();
        let owned = json!({"metadata": {"name": "s", "ownerReferences": [{"uid": &*owner.uid}]}});
        store.create(secrets, "n", owned).unwrap();
        let selector = Selector::parse("app=x", "").unwrap();
        assert_eq!(store.table(pods()).select("n", &selector, "").count(), 1);
        let patch = json!({"metadata": {"labels": {"app": "y"}}});
        store.patch(pods(), "n", "a", "", &patch).unwrap();
        assert_eq!(store.table(pods()).select("n", &selector, "").count(), 0);
        store.remove(pods(), "n", "a");
        assert!(store.table(secrets).objects.is_empty());
    }

    #[test]
    fn history_is_bounded_and_says_so() {
        let mut store = store();
        store.history_limit = 2;
        for name in ["a", "b", "c"] {
            store.create(pods(), "n", named(name, "x")).unwrap();
        }
        let table = store.table(pods());
        assert_eq!(table.history.len(), 2);
        assert_eq!(table.since(table.compacted).count(), 2);
    }

    #[test]
    fn a_pod_stays_for_its_grace_which_can_only_shrink() {
        let mut store = store();
        store.create(pods(), "n", named("a", "x")).unwrap();
        let seconds =
            |deleted: Deleted| deleted.object().value()["metadata"]["deletionGracePeriodSeconds"].clone();
        assert_eq!(seconds(store.delete(pods(), "n", "a", &Value::Null, 30).unwrap()), 30);
        assert_eq!(seconds(store.delete(pods(), "n", "a", &Value::Null, 60).unwrap()), 30);
        assert_eq!(seconds(store.delete(pods(), "n", "a", &Value::Null, 5).unwrap()), 5);
        assert!(matches!(store.delete(pods(), "n", "a", &Value::Null, 0).unwrap(), Deleted::Gone(_)));
    }
}
