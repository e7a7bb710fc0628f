//! The objects and their history, with the rules of the API server about names, versions and deletion.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    object::{Key, Object, key},
    patch,
    refusal::Refusal,
    resource::{RESOURCES, Resource},
    table::{Action, Change, Table},
};

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
    pub(crate) addresses: u32,
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
mod tests;
