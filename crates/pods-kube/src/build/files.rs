//! Files of `ephemeral` mounts: items of the start's Secret, each mounted at its own path.

use k8s_openapi::api::core::v1::{KeyToPath, SecretVolumeSource, Volume, VolumeMount};
use pods_core::resolve::File;

const VOLUME: &str = "files";

/// The Secret's key of a file. No environment variable begins with a digit, so none has the same key.
pub(super) fn key(index: usize) -> String {
    format!("{index}.file")
}

/// The volume with all files; `None` when there are none.
pub(super) fn volume(secret: &str, files: &[File]) -> Option<Volume> {
    let item = |(index, file): (usize, &File)| KeyToPath {
        key: key(index),
        path: key(index),
        mode: Some(file.mode),
    };
    let items: Vec<KeyToPath> = files.iter().enumerate().map(item).collect();
    (!items.is_empty()).then(|| Volume {
        name: VOLUME.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            items: Some(items),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    })
}

/// One mount for each file, so that the folder around it stays what the image has.
pub(super) fn mounts(files: &[File]) -> Option<Vec<VolumeMount>> {
    let mount = |(index, file): (usize, &File)| VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: file.path.clone(),
        sub_path: Some(key(index)),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    (!files.is_empty()).then(|| files.iter().enumerate().map(mount).collect())
}
