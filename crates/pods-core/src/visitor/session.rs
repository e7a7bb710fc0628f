//! What a session says. It is sealed before a browser sees it, so this is believed once it was opened.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Gate, Visitor};
use crate::Tenant;

/// A login that was completed at one host of one entry of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// What a logout revokes.
    #[serde(rename = "s")]
    pub sid: Uuid,
    /// The visitor's site.
    #[serde(rename = "i")]
    pub site_id: String,
    /// The visitor's tenant.
    #[serde(rename = "t")]
    pub tenant_id: String,
    /// The visitor's name.
    #[serde(rename = "u")]
    pub username: String,
    /// The pod.
    #[serde(rename = "p")]
    pub pod_uid: Uuid,
    /// The networking entry.
    #[serde(rename = "n")]
    pub network: String,
    /// The host that the browser has it for.
    #[serde(rename = "h")]
    pub host: String,
    /// When it was made, in seconds since 1970.
    #[serde(rename = "a")]
    pub issued: i64,
    /// When it ends.
    #[serde(rename = "e")]
    pub expires: i64,
}

impl Session {
    /// Whose it is.
    pub fn visitor(&self) -> Visitor {
        Visitor { tenant: Tenant::new(&self.site_id, &self.tenant_id), username: self.username.clone() }
    }

    /// Whether it counts at this gate, on this host, now (seconds since 1970). Whether it was revoked is another question.
    pub fn counts(&self, gate: &Gate, host: &str, now: i64) -> bool {
        self.pod_uid == gate.uid()
            && self.network == gate.network()
            && self.host == host
            && gate.hosts().iter().any(|known| known == host)
            && self.issued <= now.saturating_add(CLOCK_SLACK)
            && now < self.expires
    }
}

/// Replicas' clocks may differ by so many seconds.
const CLOCK_SLACK: i64 = 60;
