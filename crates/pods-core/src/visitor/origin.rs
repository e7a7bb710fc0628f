//! Which page made a browser send a request. Pods are neighbours below one domain: a browser sends our cookie along with
//! whatever a page of another pod makes it send, so the cookie alone does not say that its owner meant the request.

use super::Gate;

/// What a browser says about the page that sent a request. Pages cannot choose any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender<'a> {
    /// `Origin`, which comes with everything that is not plain reading, with WebSockets and with CORS; empty when it is
    /// no text.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub site: Option<&'a str>,
    /// Whether a page is opened by reading it, from a link for example.
    pub opens_page: bool,
}

impl Sender<'_> {
    /// Whether a page of `own`, scheme and host as in `Origin`, sent the request, or nobody's page. Programs and old
    /// browsers say nothing; what other pages make such browsers send, without an `Origin`, is plain reading only.
    pub fn is_own_page(&self, own: &str) -> bool {
        match self.origin {
            Some(origin) if origin == own => self.site.is_none_or(|site| site == "same-origin"),
            // Where a page hides its address, browsers still say whether it is the same.
            Some("null") => self.site == Some("same-origin"),
            Some(_) => false,
            None => self.site.is_none_or(|site| matches!(site, "same-origin" | "none")),
        }
    }

    /// Whether a session counts for the request at the host that `own` names: pages of that host send such requests,
    /// pages that the pod's owner trusts, and whoever opens a page.
    pub fn may_use_session(&self, own: &str, gate: &Gate) -> bool {
        self.is_own_page(own)
            || self.origin.is_some_and(|origin| gate.trusts(origin))
            || (self.origin.is_none() && self.opens_page)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::{Networking, Tenant, visitor::GatedPod};

    const OWN: &str = "https://shop.pods.example.org";
    const SIBLING: &str = "https://evil.pods.example.org";
    const TRUSTED: &str = "https://portal.example.org";

    fn gate(origins: &[&str]) -> Gate {
        let entry = Networking {
            tapis_auth: true,
            cors_allow_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            ..Networking::default()
        };
        let (tenant, permissions) = (Tenant::new("tacc", "dev"), Arc::from([]));
        let pod = GatedPod { tenant: &tenant, pod_id: "shop", uid: Uuid::nil(), permissions: &permissions };
        Gate::new(pod, "default", &entry)
    }

    #[test]
    fn a_session_counts_for_what_its_owner_meant() {
        let gate = gate(&[TRUSTED, "*", "null"]);
        // Origin, Sec-Fetch-Site, whether a page is opened; whether the page is the pod's own, whether a session counts.
        #[rustfmt::skip]
        let cases = [
            (None, None, false, true, true),
            (None, Some("same-origin"), false, true, true),
            (None, Some("none"), true, true, true),
            (None, Some("same-site"), true, false, true),
            (None, Some("cross-site"), true, false, true),
            (None, Some("same-site"), false, false, false),
            (None, Some("cross-site"), false, false, false),
            (None, Some("nonsense"), false, false, false),
            (Some(OWN), None, false, true, true),
            (Some(OWN), Some("same-origin"), false, true, true),
            (Some(OWN), Some("cross-site"), false, false, false),
            (Some(SIBLING), None, false, false, false),
            (Some(SIBLING), Some("same-site"), false, false, false),
            (Some(SIBLING), Some("same-site"), true, false, false),
            (Some("http://shop.pods.example.org"), None, false, false, false),
            (Some("https://shop.pods.example.org:8443"), None, false, false, false),
            (Some("https://shop.pods.example.org.evil.example"), None, false, false, false),
            (Some(""), None, true, false, false),
            (Some("null"), Some("same-origin"), false, true, true),
            (Some("null"), Some("cross-site"), false, false, false),
            (Some("null"), None, true, false, false),
            (Some(TRUSTED), Some("cross-site"), false, false, true),
            (Some(TRUSTED), None, false, false, true),
            (Some("*"), None, false, false, false),
        ];
        for (origin, site, opens_page, own, counts) in cases {
            let sender = Sender { origin, site, opens_page };
            assert_eq!(sender.is_own_page(OWN), own, "{sender:?}");
            assert_eq!(sender.may_use_session(OWN, &gate), counts, "{sender:?}");
        }
    }

    #[test]
    fn who_lets_everybody_call_the_pod_trusts_nobody_with_sessions() {
        for origins in [&[][..], &["*"], &["null"], &["https://portal.example.org/"]] {
            for origin in [TRUSTED, SIBLING, "null"] {
                let sender = Sender { origin: Some(origin), site: Some("same-site"), opens_page: false };
                assert!(!sender.may_use_session(OWN, &gate(origins)), "{origin} at {origins:?}");
            }
        }
    }
}
