//! Domains of users: who may have one is said by DNS.
//!
//! A pod that names a `custom_domain` gets it once `_tapis-pods.<domain>` has a TXT record with the pod's uid, which
//! only somebody can write who rules the domain. The uid is the pod's for ever: a pod that is made anew under the same id
//! has another one, so that a forgotten record proves nothing for it. A domain leads to one pod at a time.
//!
//! Pure: a look of the checker asks DNS once for each domain and decides here about every pod that wants it.

mod note;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::status::text_enum;
pub use note::Note;

/// The name that is put in front of a domain to ask for its record.
const LABEL: &str = "_tapis-pods.";
/// What the text of a record begins with.
const KEY: &str = "pod-uid=";
/// Longest domain whose record still has a name that DNS allows.
pub const DOMAIN_MAX: usize = 253 - LABEL.len();
/// More records of one name are not read.
const RECORDS_MAX: usize = 64;
/// Between two looks at a domain that is not verified: soon after it was named, then ever more rarely.
const LOOK_SOONEST: TimeDelta = TimeDelta::seconds(5);
const LOOK_LATEST: TimeDelta = TimeDelta::minutes(15);
/// Between two looks at a verified domain whose record is missing, or whose servers have just become silent.
const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(5);

text_enum! {
    /// What DNS says about a pod that wants a domain.
    Finding {
        /// The record names the pod, and no other pod has the domain.
        Proven => "proven",
        /// There is no record.
        Missing => "missing",
        /// The record names something else.
        Other => "other",
        /// The record names the pod, but another pod has the domain already.
        Taken => "taken",
        /// The domain is the service's own.
        Reserved => "reserved",
    }
}

/// The name of the TXT record that proves a domain.
pub fn record_name(domain: &str) -> String {
    format!("{LABEL}{domain}")
}

/// The text that the record of a pod must have.
pub fn record_text(pod_uid: Uuid) -> String {
    format!("{KEY}{pod_uid}")
}

/// What DNS answered about a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The pods that its records name; empty when there is no record.
    Names(BTreeSet<Uuid>),
    /// Nothing definite.
    Nothing,
}

impl Answer {
    /// The pods that the texts of the records name. Quotation marks around a text are a common slip and do no harm.
    pub fn of_texts(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let named = texts.into_iter().take(RECORDS_MAX).filter_map(|text| {
            let text = text.as_ref().trim().trim_matches('"').trim();
            Uuid::try_parse(text.strip_prefix(KEY)?.trim()).ok()
        });
        Self::Names(named.collect())
    }
}

/// A pod that wants a domain, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The pod.
    pub pod_uid: Uuid,
    /// The domain, lower-case.
    pub domain: String,
    /// Since when it wants it.
    pub claimed: DateTime<Utc>,
    /// Since when the domain leads to it.
    pub verified: Option<DateTime<Utc>>,
    /// Since when the proof is missing although the domain leads to it.
    pub failing: Option<DateTime<Utc>>,
    /// What DNS said the last time it said something.
    pub finding: Option<Finding>,
    /// Since when DNS says nothing.
    pub unanswered: Option<DateTime<Utc>>,
}

/// How patient the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Between two looks at a verified domain.
    pub recheck: TimeDelta,
    /// How long the proof of a verified domain may be missing.
    pub grace: TimeDelta,
    /// How long DNS may be silent about a verified domain before its proof counts as missing: somebody else may rule it
    /// by then.
    pub silence: TimeDelta,
}

/// What becomes of a claim after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The claim as it is to be stored.
    pub after: Claim,
    /// When to look again.
    pub next_look: DateTime<Utc>,
    /// A line for the action log, when the users of the pod should know.
    pub log: Option<String>,
}

impl Verdict {
    /// Whether the domain begins or ceases to lead to the pod.
    pub fn turns(&self, before: &Claim) -> bool {
        self.after.verified.is_some() != before.verified.is_some()
    }
}

/// Whether a domain is, or lies below, a host of the platform's tenants: no record can give it to a pod.
pub fn is_reserved<'a>(domain: &str, tenant_hosts: impl IntoIterator<Item = &'a str>) -> bool {
    tenant_hosts.into_iter().any(|host| {
        !host.is_empty()
            && domain.strip_suffix(host).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Decides about all claims of one domain together, in the order in which the verdicts must be stored: whoever loses the
/// domain comes before whoever gets it.
pub fn decide(
    claims: &[Claim],
    answer: &Answer,
    reserved: bool,
    patience: Patience,
    now: DateTime<Utc>,
) -> Vec<Verdict> {
    let names = |uid: Uuid| matches!(answer, Answer::Names(named) if named.contains(&uid));
    let mut order: Vec<&Claim> = claims.iter().collect();
    order.sort_by_key(|claim| (claim.verified.is_none(), claim.claimed, claim.pod_uid));
    let mut taken = false;
    let mut verdicts = Vec::with_capacity(order.len());
    for claim in order {
        let look = Look {
            claim,
            silent: *answer == Answer::Nothing && !reserved,
            finding: match answer {
                _ if reserved => Finding::Reserved,
                Answer::Names(_) if names(claim.pod_uid) && taken => Finding::Taken,
                Answer::Names(_) if names(claim.pod_uid) => Finding::Proven,
                Answer::Names(named) if !named.is_empty() => Finding::Other,
                Answer::Names(_) | Answer::Nothing => Finding::Missing,
            },
            // Whoever rules the domain has decided for another pod.
            given_away: claims.iter().any(|other| other.pod_uid != claim.pod_uid && names(other.pod_uid)),
            patience,
            now,
        };
        let verdict = look.verdict();
        taken |= verdict.after.verified.is_some();
        verdicts.push(verdict);
    }
    verdicts.sort_by_key(|verdict| verdict.after.verified.is_some());
    verdicts
}

/// One claim and what a look showed of it.
struct Look<'a> {
    claim: &'a Claim,
    silent: bool,
    finding: Finding,
    given_away: bool,
    patience: Patience,
    now: DateTime<Utc>,
}

impl Look<'_> {
    fn verdict(&self) -> Verdict {
        let mut after = self.claim.clone();
        if self.silent {
            // No answer is no "no": what leads to the pod goes on doing so, for a long while.
            let since = self.claim.unanswered.unwrap_or(self.now);
            after.unanswered = Some(since);
            if self.now - since >= self.patience.silence {
                self.turn(&mut after);
            }
        } else {
            after.unanswered = None;
            after.finding = Some(self.finding);
            self.turn(&mut after);
        }
        let log = if self.silent { self.silence_log(&after) } else { self.log(&after) };
        Verdict { next_look: self.next_look(&after), after, log }
    }

    fn turn(&self, after: &mut Claim) {
        match (self.finding, self.claim.verified) {
            (Finding::Proven, None) => after.verified = Some(self.now),
            (Finding::Proven, Some(_)) => after.failing = None,
            (Finding::Missing | Finding::Other, Some(_)) if !self.given_away => {
                let since = self.claim.failing.unwrap_or(self.now);
                let over = self.now - since >= self.patience.grace;
                after.failing = (!over).then_some(since);
                after.verified = after.verified.filter(|_| !over);
            }
            (_, Some(_)) => (after.verified, after.failing) = (None, None),
            (_, None) => {}
        }
    }

    fn next_look(&self, after: &Claim) -> DateTime<Utc> {
        let (recheck, again) = (self.patience.recheck, LOOK_AGAIN.min(self.patience.recheck));
        let pause = match (after.verified, after.unanswered) {
            // The longer nobody answers, the rarer it is worth asking.
            (Some(_), Some(since)) => ((self.now - since) / 2).clamp(again, recheck),
            (Some(_), None) if after.failing.is_none() => recheck,
            (Some(_), None) => again,
            (None, Some(since)) => ((self.now - since) / 2).clamp(LOOK_SOONEST, LOOK_LATEST),
            (None, None) => ((self.now - after.claimed) / 8).clamp(LOOK_SOONEST, LOOK_LATEST),
        };
        self.now + pause
    }

    fn log(&self, after: &Claim) -> Option<String> {
        let Claim { pod_uid, domain, .. } = after;
        let record =
            || format!("a TXT record {} with the text {}", record_name(domain), record_text(*pod_uid));
        let text = match (self.claim.verified, after.verified) {
            (None, Some(_)) => "is verified and leads to the pod now.".to_owned(),
            (Some(_), None) if self.finding == Finding::Reserved => {
                "no longer leads to the pod: it belongs to the service.".to_owned()
            }
            (Some(_), None) if self.given_away => {
                "no longer leads to the pod: its TXT record names another pod.".to_owned()
            }
            (Some(_), None) => format!("no longer leads to the pod. To have it back, create {}.", record()),
            (Some(_), Some(_)) => match (self.claim.failing, after.failing) {
                (None, Some(since)) => format!(
                    "has lost its proof and stops leading to the pod at {} unless there is {} again.",
                    self.end(since),
                    record(),
                ),
                (Some(_), None) => "has its proof again.".to_owned(),
                _ => return None,
            },
            (None, None) if self.claim.finding == after.finding => return None,
            (None, None) => match self.finding {
                Finding::Reserved => "belongs to the service; no pod can have it.".to_owned(),
                Finding::Taken => "leads to another pod; it has to give the domain up first.".to_owned(),
                Finding::Other => {
                    format!("is not verified: its TXT record names something else. Create {}.", record())
                }
                Finding::Missing | Finding::Proven => format!("is not verified yet: create {}.", record()),
            },
        };
        Some(format!("Custom domain {domain} {text}"))
    }

    fn silence_log(&self, after: &Claim) -> Option<String> {
        let before = self.claim;
        let name = record_name(&before.domain);
        let text = match (before.verified, after.verified) {
            (None, _) if before.finding.is_none() && before.unanswered.is_none() => {
                format!("is not verified yet: DNS does not answer for {name}.")
            }
            (Some(_), None) => format!("no longer leads to the pod: DNS does not answer for {name}."),
            (Some(_), Some(_)) => {
                let since = after.failing.filter(|_| before.failing.is_none())?;
                let text = record_text(before.pod_uid);
                format!(
                    "stops leading to the pod at {} unless DNS answers for {name} again, with the text {text}: it has \
                     been silent for too long.",
                    self.end(since)
                )
            }
            (None, _) => return None,
        };
        Some(format!("Custom domain {} {text}", before.domain))
    }

    /// When a domain stops leading to its pod whose proof is missing since then.
    fn end(&self, since: DateTime<Utc>) -> String {
        (since + self.patience.grace).format("%Y-%m-%d %H:%M UTC").to_string()
    }
}

#[cfg(test)]
mod tests;
