//! What subscribers are told of a change.

use std::collections::HashMap;

use pods_db::{
    Connection, DbError,
    changes::{Change, Cursor},
    summaries::{self, Summary},
};
use uuid::Uuid;

use crate::{
    sse::Event,
    view::{PodEventView, PodGoneView},
};

/// A change, and who may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the feed.
    pub cursor: Cursor,
    /// The tenant of the pod.
    pub tenant_id: String,
    /// The pod.
    pub pod_id: String,
    /// The users to whom it is shown, administrators aside.
    pub readers: Vec<String>,
    kind: Kind,
    event: Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The pod as it is now.
    Pod,
    /// It was deleted.
    Deleted,
    /// The one reader may not see it any more.
    Hidden,
}

impl Entry {
    /// Whether the entry is shown to a user; `None` is an administrator, from whom nothing is hidden.
    pub fn is_for(&self, username: Option<&str>) -> bool {
        match username {
            Some(username) => self.readers.iter().any(|reader| reader == username),
            None => self.kind != Kind::Hidden,
        }
    }

    /// The event, whose id is the place in the feed.
    pub fn event(&self) -> Event {
        self.event.clone()
    }

    /// That the pod is as `pod` says.
    pub fn event_of(pod: Summary) -> Event {
        Event::new("pod").json(&PodEventView::from(pod))
    }

    fn new(cursor: Cursor, pod: Summary, readers: Vec<String>, kind: Kind) -> Self {
        let (tenant_id, pod_id) = (pod.tenant_id.clone(), pod.pod_id.clone());
        let gone = || PodGoneView { pod_id: pod_id.clone(), uid: pod.uid };
        let event = match kind {
            Kind::Deleted => Event::new("pod_deleted").json(&gone()),
            Kind::Hidden => Event::new("pod_hidden").json(&gone()),
            Kind::Pod => Self::event_of(pod),
        };
        Self { event: event.id(cursor.to_string()), cursor, tenant_id, pod_id, readers, kind }
    }
}

/// The entries of some changes: at most three statements, however many they are.
pub async fn load(conn: &mut Connection, site_id: &str, changes: &[Change]) -> Result<Vec<Entry>, DbError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut uids: Vec<Uuid> = changes.iter().map(|change| change.pod_uid).collect();
    uids.sort_unstable();
    uids.dedup();
    let pods = summaries::some(conn, site_id, &uids).await?;
    let readers = summaries::readers(conn, &uids).await?;
    Ok(entries(changes, pods, &readers))
}

/// What is to be told of `changes`, now that the pods and their readers are these.
///
/// A pod that changed more than once is told once, in the place of its last change: whoever goes on after any of the
/// ids has seen everything before it.
fn entries(changes: &[Change], pods: Vec<Summary>, readers: &HashMap<Uuid, Vec<String>>) -> Vec<Entry> {
    let last: HashMap<(Uuid, Option<&str>), Cursor> = changes
        .iter()
        .map(|change| ((change.pod_uid, change.hidden_from.as_deref()), change.cursor))
        .collect();
    // Pods of other sites, and those that were purged meanwhile, are not among them.
    let pods: HashMap<Uuid, Summary> = pods.into_iter().map(|pod| (pod.uid, pod)).collect();
    let mut entries = Vec::new();
    for change in changes {
        let hidden_from = change.hidden_from.as_deref();
        let Some(pod) = pods.get(&change.pod_uid) else { continue };
        if last.get(&(change.pod_uid, hidden_from)) != Some(&change.cursor) {
            continue;
        }
        let readers = readers.get(&pod.uid).map_or(&[][..], Vec::as_slice);
        let (readers, kind) = match hidden_from {
            // Given back since.
            Some(username) if readers.iter().any(|reader| reader == username) => continue,
            Some(username) => (vec![username.to_owned()], Kind::Hidden),
            None if pod.deleted_at.is_some() => (readers.to_vec(), Kind::Deleted),
            None => (readers.to_vec(), Kind::Pod),
        };
        entries.push(Entry::new(change.cursor, pod.clone(), readers, kind));
    }
    entries
}

#[cfg(test)]
pub(super) mod tests {
    use chrono::{DateTime, Utc};
    use pods_core::{Status, StatusRequested, reason::StatusContainer};

    use super::*;

    fn pod(uid: u128, deleted: bool) -> Summary {
        let at = DateTime::<Utc>::UNIX_EPOCH;
        Summary {
            uid: Uuid::from_u128(uid),
            tenant_id: "dev".to_owned(),
            pod_id: format!("pod{uid}"),
            status_requested: StatusRequested::On,
            status: Status::Requested,
            status_container: StatusContainer::default(),
            networking_live: false,
            status_changed_ts: at,
            revision: 1,
            instance_id: None,
            creation_ts: at,
            update_ts: at,
            start_instance_ts: None,
            time_to_stop_ts: None,
            deleted_at: deleted.then_some(at),
        }
    }

    /// The entry of a change of the pod `web`.
    pub fn of_pod(change: &Change, readers: &[&str]) -> Entry {
        let readers = readers.iter().map(|name| (*name).to_owned()).collect();
        Entry::new(change.cursor, Summary { pod_id: "web".to_owned(), ..pod(0, false) }, readers, Kind::Pod)
    }

    fn change(id: i64, uid: u128, hidden_from: Option<&str>) -> Change {
        let hidden_from = hidden_from.map(ToOwned::to_owned);
        Change { cursor: Cursor { xid: 9, id }, pod_uid: Uuid::from_u128(uid), hidden_from }
    }

    fn told(changes: &[Change], pods: Vec<Summary>, readers: &[(u128, &[&str])]) -> Vec<(i64, String, Kind)> {
        let readers = readers
            .iter()
            .map(|(uid, names)| {
                (Uuid::from_u128(*uid), names.iter().map(|name| (*name).to_owned()).collect())
            })
            .collect();
        let told = entries(changes, pods, &readers).into_iter();
        told.map(|entry| {
            (entry.cursor.id, format!("{} {}", entry.pod_id, entry.readers.join(" ")), entry.kind)
        })
        .collect()
    }

    #[test]
    fn a_pod_is_told_once_where_it_changed_last() {
        let changes = [change(1, 1, None), change(2, 2, None), change(3, 1, None), change(4, 3, None)];
        let told = told(&changes, vec![pod(1, false), pod(2, true)], &[(1, &["ann", "bob"]), (2, &["ann"])]);
        assert_eq!(
            told,
            [(2, "pod2 ann".to_owned(), Kind::Deleted), (3, "pod1 ann bob".to_owned(), Kind::Pod)],
            "a pod of another site is not told"
        );
    }

    #[test]
    fn only_who_still_may_not_see_a_pod_is_told_that_it_is_hidden() {
        let changes = [change(1, 1, Some("bob")), change(2, 1, None), change(3, 1, Some("carl"))];
        let told = told(&changes, vec![pod(1, false)], &[(1, &["ann", "bob"])]);
        assert_eq!(
            told,
            [(2, "pod1 ann bob".to_owned(), Kind::Pod), (3, "pod1 carl".to_owned(), Kind::Hidden)]
        );
    }

    #[test]
    fn nothing_is_hidden_from_administrators() {
        let changes = [change(1, 1, Some("carl")), change(2, 1, None)];
        let all = entries(&changes, vec![pod(1, false)], &HashMap::new());
        let shown: Vec<bool> = all.iter().map(|entry| entry.is_for(None)).collect();
        assert_eq!(shown, [false, true]);
        assert!(all[0].is_for(Some("carl")) && !all[1].is_for(Some("carl")));
    }
}
