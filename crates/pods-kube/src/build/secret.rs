use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::Build;

/// The Secret with the values of the pod's environment; `None` when it has none.
///
/// Values never stand in the Pod: whoever may look at Pods must not see them.
pub fn secret(build: &Build<'_>) -> Option<Secret> {
    let environment = &build.effective.definition.environment_variables;
    if environment.is_empty() {
        return None;
    }
    let data: BTreeMap<String, ByteString> = environment
        .iter()
        .map(|(name, value)| (name.clone(), ByteString(value.clone().into_bytes())))
        .collect();
    Some(Secret {
        metadata: build.meta(build.instance_name()),
        data: Some(data),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}
