//! The kinds that are served.

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// As in paths: `pods`.
    pub plural: &'static str,
    /// As in objects: `Pod`.
    pub kind: &'static str,
    /// The API group; empty for the core.
    pub group: &'static str,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

const fn core(plural: &'static str, kind: &'static str) -> Resource {
    Resource { plural, kind, group: "", namespaced: true }
}

/// Every kind, all in version `v1`.
pub static RESOURCES: &[Resource] = &[
    core("pods", "Pod"),
    core("services", "Service"),
    core("secrets", "Secret"),
    core("configmaps", "ConfigMap"),
    core("events", "Event"),
    core("persistentvolumeclaims", "PersistentVolumeClaim"),
    core("serviceaccounts", "ServiceAccount"),
    core("resourcequotas", "ResourceQuota"),
    core("limitranges", "LimitRange"),
    Resource { plural: "nodes", kind: "Node", group: "", namespaced: false },
    Resource { plural: "namespaces", kind: "Namespace", group: "", namespaced: false },
    Resource {
        plural: "networkpolicies",
        kind: "NetworkPolicy",
        group: "networking.k8s.io",
        namespaced: true,
    },
    Resource { plural: "leases", kind: "Lease", group: "coordination.k8s.io", namespaced: true },
];

impl Resource {
    /// The kind with this name in paths, whatever its group.
    pub fn named(plural: &str) -> Option<&'static Resource> {
        RESOURCES.iter().find(|resource| resource.plural == plural)
    }

    /// The kind of a group with this name in paths.
    pub fn in_group(group: &str, plural: &str) -> Option<&'static Resource> {
        Self::named(plural).filter(|resource| resource.group == group)
    }

    /// The kind with this name in objects.
    pub fn of_kind(kind: &str) -> Option<&'static Resource> {
        RESOURCES.iter().find(|resource| resource.kind == kind)
    }

    /// The value of `apiVersion`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }
}
