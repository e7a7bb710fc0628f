//! What a request is about.

use std::collections::BTreeMap;

use http::Uri;

use crate::{resource::Resource, selector};

/// An object or a collection.
#[derive(Debug)]
pub struct Target {
    /// The kind.
    pub resource: &'static Resource,
    /// The namespace; empty for all of them, or for a kind without one.
    pub namespace: String,
    /// The name; empty for the collection.
    pub name: String,
    /// `log` or `status`; empty for the object itself.
    pub part: String,
    /// The query.
    pub query: BTreeMap<String, String>,
}

impl Target {
    /// Reads a path below `/api/v1` or `/apis/<group>/v1`.
    pub fn read(uri: &Uri) -> Option<Self> {
        let words: Vec<&str> = uri.path().split('/').filter(|word| !word.is_empty()).collect();
        let (group, rest) = match words.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, "v1", rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, inner @ ..] if !inner.is_empty() && inner != ["status"] => {
                (*namespace, inner)
            }
            _ => ("", rest),
        };
        let resource = Resource::in_group(group, rest.first()?)?;
        Some(Self {
            resource,
            namespace: namespace.to_owned(),
            name: rest.get(1).copied().unwrap_or_default().to_owned(),
            part: rest.get(2).copied().unwrap_or_default().to_owned(),
            query: selector::query(uri.query().unwrap_or_default()),
        })
    }

    /// A parameter; empty when it is absent.
    pub fn get(&self, key: &str) -> &str {
        self.query.get(key).map(String::as_str).unwrap_or_default()
    }

    /// Whether a parameter is true.
    pub fn asks(&self, key: &str) -> bool {
        matches!(self.get(key), "true" | "1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_kubernetes() {
        let read = |path: &str| {
            let target = Target::read(&path.parse().unwrap())?;
            Some((target.resource.plural, target.namespace, target.name, target.part))
        };
        let of = |plural, namespace: &str, name: &str, part: &str| {
            Some((plural, namespace.to_owned(), name.to_owned(), part.to_owned()))
        };
        assert_eq!(read("/api/v1/namespaces/n/pods/a/log?follow=true"), of("pods", "n", "a", "log"));
        assert_eq!(read("/api/v1/pods"), of("pods", "", "", ""));
        assert_eq!(read("/api/v1/namespaces/n"), of("namespaces", "", "n", ""));
        assert_eq!(read("/api/v1/namespaces"), of("namespaces", "", "", ""));
        assert_eq!(
            read("/apis/networking.k8s.io/v1/namespaces/n/networkpolicies/x"),
            of("networkpolicies", "n", "x", "")
        );
        assert_eq!(read("/apis/apps/v1/deployments"), None);
    }
}
