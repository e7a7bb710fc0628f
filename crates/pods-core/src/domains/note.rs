//! What the users of a pod are told about its domain.

use super::{Claim, Finding, record_name, record_text};

/// A custom domain, as an explanation shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The domain.
    pub domain: String,
    /// Whether it leads to the pod.
    pub verified: bool,
    /// Whether it is as it shall be, so that nobody has to do anything.
    pub settled: bool,
    /// What is the case and what to do, in plain words.
    pub message: String,
    /// Name of the TXT record that proves it.
    pub record_name: String,
    /// What the record must say.
    pub record_text: String,
}

impl Note {
    /// What is known about a claim.
    pub fn of(claim: &Claim) -> Self {
        Self {
            domain: claim.domain.clone(),
            verified: claim.verified.is_some(),
            settled: claim.verified.is_some() && claim.failing.is_none(),
            message: message(claim),
            record_name: record_name(&claim.domain),
            record_text: record_text(claim.pod_uid),
        }
    }
}

fn message(claim: &Claim) -> String {
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    let record =
        || format!("TXT record {} with the text {}", record_name(&claim.domain), record_text(claim.pod_uid));
    let mut message = match (claim.verified, claim.failing, claim.finding) {
        (Some(since), None, _) => format!("Verified at {}.", time(since)),
        (Some(_), Some(since), _) => format!(
            "Its proof is missing since {}; it stops leading to the pod unless there is a {} again.",
            time(since),
            record()
        ),
        (None, _, None) => {
            format!("It was not looked at yet. It leads to the pod once there is a {}.", record())
        }
        (None, _, Some(Finding::Missing | Finding::Proven)) => {
            format!("It leads to the pod once there is a {}.", record())
        }
        (None, _, Some(Finding::Other)) => {
            format!("Its TXT record names something else. It leads to the pod once there is a {}.", record())
        }
        (None, _, Some(Finding::Taken)) => {
            "Another pod has it, which its TXT record names too. Remove that pod's text from the record, or the \
             domain from that pod."
                .to_owned()
        }
        (None, _, Some(Finding::Reserved)) => "It belongs to the service; no pod can have it.".to_owned(),
    };
    if let Some(since) = claim.unanswered {
        message +=
            &format!(" DNS has not answered for {} since {}.", record_name(&claim.domain), time(since));
    }
    message
}
