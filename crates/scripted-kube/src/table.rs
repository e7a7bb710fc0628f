//! The objects of one kind, with their labels and their latest changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    object::{Key, Object},
    resource::Resource,
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
    pub(crate) fn new(resource: &'static Resource) -> Self {
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

    pub(crate) fn index(&mut self, object: &Arc<Object>) {
        for (key, value) in &object.labels {
            self.labelled.entry((key.clone(), value.clone())).or_default().insert(Arc::clone(&object.key));
        }
    }

    pub(crate) fn unindex(&mut self, object: &Object) {
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

    pub(crate) fn record(&mut self, change: Change, limit: usize) {
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
