//! The labels that say whose an object is, and the selectors made of them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use uuid::Uuid;

/// The site of the pod.
pub const SITE: &str = "tapis.io/site";
/// The tenant of the pod.
pub const TENANT: &str = "tapis.io/tenant";
/// The pod's id, as users know it.
pub const POD_ID: &str = "tapis.io/pod-id";
/// The uid of the pod's row: whose the object is.
pub const UID: &str = "tapis.io/uid";
/// The start that the object was made for.
pub const INSTANCE: &str = "tapis.io/instance";
/// Who looks after the object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on our objects.
pub const MANAGER: &str = "pods";
/// The pod's Kubernetes name; templates and other tools select by it.
pub const APP: &str = "app";

/// Annotation of a Service and a Pod: which networking entry each port name `p0`, `p1`... stands for.
pub const PORTS_ANNOTATION: &str = "tapis.io/ports";

/// Selects every object of a site.
pub fn site_selector(site_id: &str) -> String {
    format!("{MANAGED_BY}={MANAGER},{SITE}={site_id}")
}

/// Selects every object of one row.
pub fn uid_selector(uid: Uuid) -> String {
    format!("{MANAGED_BY}={MANAGER},{UID}={uid}")
}

/// The row that an object belongs to; `None` when it is not ours.
pub fn uid(meta: &ObjectMeta) -> Option<Uuid> {
    read(meta, UID)
}

/// The start that an object was made for; `None` when it is not ours.
pub fn instance(meta: &ObjectMeta) -> Option<Uuid> {
    read(meta, INSTANCE)
}

fn read(meta: &ObjectMeta, label: &str) -> Option<Uuid> {
    let labels: &BTreeMap<String, String> = meta.labels.as_ref()?;
    if labels.get(MANAGED_BY).map(String::as_str) != Some(MANAGER) {
        return None;
    }
    labels.get(label)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(pairs: &[(&str, &str)]) -> ObjectMeta {
        let labels = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }
    }

    #[test]
    fn only_objects_of_ours_have_an_owner() {
        let id = "01234567-89ab-4def-8123-456789abcdef";
        assert!(uid(&meta(&[(MANAGED_BY, MANAGER), (UID, id)])).is_some());
        assert_eq!(uid(&meta(&[(UID, id)])), None);
        assert_eq!(uid(&meta(&[(MANAGED_BY, MANAGER), (UID, "shop")])), None);
        assert_eq!(instance(&ObjectMeta::default()), None);
    }
}
