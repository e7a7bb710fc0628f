use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use pods_core::resolve::Resolved;

use super::{Build, files};

/// The Secret with every value of the start: environment, variables of the command, contents of files. `None` when it
/// has none.
///
/// Values never stand in the Pod: whoever may look at Pods must not see them.
pub fn secret(build: &Build<'_>, resolved: &Resolved) -> Option<Secret> {
    let variables = resolved.environment.iter().chain(&resolved.variables);
    let contents = resolved.files.iter().enumerate().map(|(index, file)| (files::key(index), &file.content));
    let data: BTreeMap<String, ByteString> = variables
        .map(|(name, value)| (name.clone(), value))
        .chain(contents)
        .map(|(key, value)| (key, ByteString(value.clone().into_bytes())))
        .collect();
    (!data.is_empty()).then(|| Secret {
        metadata: build.meta(build.instance_name()),
        data: Some(data),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}
