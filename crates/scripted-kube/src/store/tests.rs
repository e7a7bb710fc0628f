use super::*;
use crate::selector::Selector;

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
    let same = store.patch(pods(), "n", "a", kind, &json!({"metadata": {"labels": {"app": "x"}}})).unwrap();
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
