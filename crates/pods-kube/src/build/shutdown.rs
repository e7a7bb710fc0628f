//! An empty volume that lets a container end in its own time.
//!
//! A container is ended through its Pod's deadline, so that its log can be read to the end. The Pod counts as failed from
//! then on, and kubelets before 1.22 remove the cgroup of a failed Pod within two seconds, with everything that runs in
//! it, unless a volume of it is mounted.

use k8s_openapi::{
    api::core::v1::{EmptyDirVolumeSource, Volume, VolumeMount},
    apimachinery::pkg::api::resource::Quantity,
};

const NAME: &str = "shutdown";
/// Nothing looks for anything here.
const PATH: &str = "/run/tapis-pods";

pub(super) fn volume() -> Volume {
    Volume {
        name: NAME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(Quantity("1Mi".to_owned())),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub(super) fn mount() -> VolumeMount {
    VolumeMount {
        name: NAME.to_owned(),
        mount_path: PATH.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
