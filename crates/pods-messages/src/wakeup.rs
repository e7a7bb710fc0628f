//! The message itself.

use std::fmt::Display;
use std::time::SystemTime;

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
