//! What the document depends on besides the pods.

use super::rules::check_label;

/// Where requests are sent, how Traefik calls its entry points and where it gets certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingSettings {
    /// Kubernetes namespace of the user pods' Services.
    pub namespace: String,
    /// Domain of the cluster's DNS, for example `cluster.local`.
    pub cluster_domain: String,
    /// Where the REST API is.
    pub api_url: String,
    /// Where the edge is.
    pub edge_url: String,
    /// Name of the entry point for plain HTTP.
    pub entry_point_http: String,
    /// Name of the entry point for TLS; may be the same.
    pub entry_point_https: String,
    /// Traefik's certificate resolver for pod hosts; `None` uses the certificates that Traefik has.
    pub cert_resolver: Option<String>,
    /// Whether that resolver is asked for one certificate for all pods of a tenant instead of one for each host.
    pub cert_wildcard: bool,
    /// Traefik's certificate resolver for the users' own domains; `None` uses the certificates that Traefik has.
    pub domain_cert_resolver: Option<String>,
}

impl RoutingSettings {
    /// Those of a cluster with the usual names, whose Traefik has its certificates already.
    pub fn usual(api_url: &str, edge_url: &str) -> Self {
        Self {
            namespace: "pods".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            api_url: api_url.to_owned(),
            edge_url: edge_url.to_owned(),
            entry_point_http: "web".to_owned(),
            entry_point_https: "websecure".to_owned(),
            cert_resolver: None,
            cert_wildcard: false,
            domain_cert_resolver: None,
        }
    }

    /// Finds what would make every document wrong.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub(super) fn check(&self) -> Result<(), String> {
        check_label("the namespace", &self.namespace)?;
        for label in self.cluster_domain.split('.') {
            check_label("a part of the cluster domain", label)?;
        }
        for url in [&self.api_url, &self.edge_url] {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            if rest.is_none_or(|rest| rest.is_empty() || !rest.chars().all(|c| c.is_ascii_graphic())) {
                return Err(format!("{url:?} is no URL that starts with http:// or https://"));
            }
        }
        if self.entry_point_http.is_empty() || self.entry_point_https.is_empty() {
            return Err("the names of Traefik's entry points must not be empty".to_owned());
        }
        if [&self.cert_resolver, &self.domain_cert_resolver].into_iter().flatten().any(String::is_empty) {
            return Err(
                "the name of a certificate resolver must not be empty; leave it out for none".to_owned()
            );
        }
        if self.cert_wildcard && self.cert_resolver.is_none() {
            return Err("cert_wildcard needs a cert_resolver, one that answers DNS challenges".to_owned());
        }
        Ok(())
    }

    /// A path at the edge, as Traefik reaches it.
    pub(super) fn at_edge(&self, path: &str) -> String {
        format!("{}{path}", self.edge_url.trim_end_matches('/'))
    }
}
