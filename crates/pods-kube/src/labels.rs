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

/// Annotation of a Pod: the W3C `traceparent` of the request or event that its start goes back to.
pub const TRACEPARENT_ANNOTATION: &str = "tapis.io/traceparent";
/// Annotation of a Pod: visitors are led to its container before it is ready. Absent, they wait.
pub const OPEN_UNREADY_ANNOTATION: &str = "tapis.io/open-unready";
/// Annotation of a NetworkPolicy: a digest of its rules, so that a change is seen without reading them.
pub const RULES_ANNOTATION: &str = "tapis.io/rules";

const NAME_MAX: usize = 63;
const DNS_NAME_MAX: usize = 253;

/// Whether Kubernetes accepts the text as the key of a label, taint or resource: a name of at most 63 characters, with
/// an optional DNS name and a slash before it.
pub fn is_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    !name.is_empty() && is_value(name) && prefix.is_none_or(is_dns_name)
}

/// Whether Kubernetes accepts the text as the name of an object: labels of DNS, joined by dots.
pub fn is_dns_name(text: &str) -> bool {
    let dns_label = |label: &str| {
        (1..=NAME_MAX).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= DNS_NAME_MAX && text.split('.').all(dns_label)
}

/// Whether Kubernetes accepts the text as the value of a label: at most 63 letters, digits, `-`, `_` and `.`, with a
/// letter or digit at both ends; or nothing.
pub fn is_value(text: &str) -> bool {
    let ends_well = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= NAME_MAX
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && ends_well(text.chars().next())
        && ends_well(text.chars().last())
}

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
    fn keys_and_values_follow_the_grammar_of_labels() {
        for key in ["app", "kubernetes.io/metadata.name", "nvidia.com/gpu", "A_b.c-1"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "/a", "a/", "a/b/c", "-a", "a-", "Upper.io/a", "a b", "x..y/a", &"a".repeat(64)] {
            assert!(!is_key(key), "{key}");
        }
        assert!(is_value("") && is_value("a100") && !is_value("a b") && !is_value(".a") && !is_value("a_"));
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
