//! The statuses of a pod on the wire (Tapis Pods documentation, "Pod Lifecycle").

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The value as it stands on the wire and in the database.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::status::UnknownValue;

            fn from_str(text: &str) -> Result<Self, $crate::status::UnknownValue> {
                match text {
                    $($text => Ok($name::$variant),)+
                    other => Err($crate::status::UnknownValue(other.to_owned())),
                }
            }
        }
    };
}
pub(crate) use text_enum;

/// A text that is none of the values of the enumeration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not one of the possible values")]
pub struct UnknownValue(pub String);

text_enum! {
    /// Where a pod is in its life.
    Status {
        /// A start was accepted and waits for the spawner.
        Requested => "REQUESTED",
        /// The spawner works on it: objects are created, the image is pulled, a node is looked for.
        Spawning => "SPAWNING",
        /// The container of the current instance runs.
        Available => "AVAILABLE",
        /// Nothing of the pod exists in Kubernetes.
        Stopped => "STOPPED",
        /// Its objects are being removed; a new start follows by itself.
        Restarting => "RESTARTING",
        /// Its objects are being removed.
        ShuttingDown => "SHUTTING_DOWN",
        /// The container ended by itself with exit code 0.
        Complete => "COMPLETE",
        /// It could not be started, or its container ended with another exit code.
        Error => "ERROR",
    }
}

text_enum! {
    /// What the user wants.
    StatusRequested {
        /// The pod shall run.
        On => "ON",
        /// The pod shall not run.
        Off => "OFF",
        /// The pod shall be stopped and started again; becomes `ON` once it is stopped.
        Restart => "RESTART",
    }
}

impl Status {
    /// Statuses in which the objects of the current instance may exist and shall go on existing.
    pub const WANTS_OBJECTS: &'static [Status] = &[Status::Requested, Status::Spawning, Status::Available];

    /// Statuses in which somebody is expected to make progress soon; the sweep looks after these.
    pub const IN_PROGRESS: &'static [Status] =
        &[Status::Requested, Status::Spawning, Status::ShuttingDown, Status::Restarting];

    /// Whether objects of the current instance shall exist in Kubernetes.
    pub fn wants_objects(self) -> bool {
        Self::WANTS_OBJECTS.contains(&self)
    }
}
