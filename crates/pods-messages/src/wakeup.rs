//! The message itself.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

mod generated {
    include!(concat!(env!("OUT_DIR"), "/pods.v1.rs"));
}

pub use generated::WakeUp;

/// Bytes that are not a wake-up. It will not get better by trying again.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWakeUp {
    /// Not protobuf, or of another type.
    #[error("the payload is not a WakeUp message")]
    Payload(#[from] prost::DecodeError),
    /// The pod's uid is missing or not a uuid.
    #[error("the wake-up's pod_uid is not a uuid")]
    PodUid(#[from] uuid::Error),
}

impl WakeUp {
    /// The reason of a wake-up that repeats one that may be lost. Another follows within [`WakeUp::REPEATED_EVERY`] for
    /// as long as nothing moves, so none of them has to wait for longer.
    pub const SWEEP: &str = "sweep";
    /// The longest time between two repetitions.
    pub const REPEATED_EVERY: Duration = Duration::from_secs(60);

    /// A wake-up for a pod. `reason` is a stable word for logs, `requested_at` the time of the outbox row.
    pub fn new(pod_uid: Uuid, reason: &str, outbox_id: impl Display, requested_at: SystemTime) -> Self {
        Self {
            pod_uid: pod_uid.to_string(),
            reason: reason.to_owned(),
            outbox_id: outbox_id.to_string(),
            requested_at: Some(requested_at.into()),
        }
    }

    /// The pod's uid as such.
    pub fn uid(&self) -> Result<Uuid, InvalidWakeUp> {
        Ok(Uuid::parse_str(&self.pod_uid)?)
    }

    /// When the outbox row was written, if the sender said so and the time can be represented.
    pub fn requested_at_time(&self) -> Option<SystemTime> {
        self.requested_at.and_then(|at| SystemTime::try_from(at).ok())
    }

    /// Whether this repetition need not come again: the next one is on its way.
    pub fn is_superseded(&self, now: SystemTime) -> bool {
        let age = self.requested_at_time().and_then(|at| now.duration_since(at).ok());
        self.reason == Self::SWEEP && age.is_some_and(|age| age > Self::REPEATED_EVERY)
    }

    /// The bytes for the broker.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Reads bytes from the broker. A wake-up without a valid pod uid is none.
    pub fn from_bytes(payload: &[u8]) -> Result<Self, InvalidWakeUp> {
        let wake_up = <Self as Message>::decode(payload)?;
        wake_up.uid()?;
        Ok(wake_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_survives_the_wire() {
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(1_700_000_000_123_456);
        let sent = WakeUp::new(Uuid::from_u128(7), "create", 42, at);
        let read = WakeUp::from_bytes(&sent.to_bytes()).unwrap();
        assert_eq!(read, sent);
        assert_eq!(read.uid().unwrap(), Uuid::from_u128(7));
        assert_eq!(read.requested_at_time(), Some(at));
    }

    #[test]
    fn only_a_repetition_is_followed_by_another() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let superseded = |reason, after| {
            WakeUp::new(Uuid::from_u128(7), reason, 1, at).is_superseded(at + Duration::from_secs(after))
        };
        assert!(
            !superseded("create", 100_000) && !superseded(WakeUp::SWEEP, 59) && superseded(WakeUp::SWEEP, 61)
        );
        assert!(!WakeUp::default().is_superseded(at), "without a time nothing is known");
    }

    #[test]
    fn what_is_no_wake_up_is_refused() {
        assert!(matches!(WakeUp::from_bytes(b"\xff\xff"), Err(InvalidWakeUp::Payload(_))));
        assert!(matches!(WakeUp::from_bytes(b""), Err(InvalidWakeUp::PodUid(_))));
    }

    #[test]
    fn a_newer_senders_unknown_field_is_ignored() {
        let mut bytes = WakeUp::new(Uuid::from_u128(7), "stop", "a", SystemTime::UNIX_EPOCH).encode_to_vec();
        bytes.extend(b"\xfa\x01\x03new"); // field 31, length-delimited
        assert_eq!(WakeUp::from_bytes(&bytes).unwrap().reason, "stop");
    }
}
