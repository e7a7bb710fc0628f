//! `template_overrides`: parts of a template's mounts and secret map that a pod replaces without repeating the rest.
//!
//! They lie between the template chain and the pod's own `volume_mounts` and `secret_map` ([`super::derive()`]). A
//! mount keeps every key that its override does not name; a mount path that no template has is ignored with a
//! warning, a secret key that no template has is added with one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    input::{Field, Reader, Violations},
    limits::MOUNTS_MAX,
    mount::{self, ConfigUpdateMode, MountKind, Owner, VolumeMount},
    patch, placeholder,
};

/// What a pod changes of its template without repeating it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TemplateOverrides {
    /// By mount path: the keys to replace in the merged mount.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volume_mounts: BTreeMap<String, MountOverride>,
    /// Values to set or add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_map: BTreeMap<String, String>,
}

/// The keys of one mount that are replaced; `None` keeps the template's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of VolumeMount")]
pub struct MountOverride {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<MountKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_permissions: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_filename: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_update_mode: Option<ConfigUpdateMode>,
    /// Who named `source_id`; written by the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounted_by: Option<String>,
}

impl TemplateOverrides {
    /// Reads the `template_overrides` object of a body.
    pub fn read(place: &[&str], value: Value, violations: &mut Violations) -> Self {
        let mut reader = Reader::new(place, value, violations);
        let volume_mounts = reader.object("volume_mounts", read_mounts);
        let secret_map = reader.string_map("secret_map");
        reader.finish();
        let overrides = Self { volume_mounts: given(volume_mounts), secret_map: given(secret_map) };
        let contents = overrides.volume_mounts.values().filter_map(|mount| mount.config_content.as_deref());
        patch::check_contents(&[place, &["volume_mounts"]].concat(), contents, violations);
        let place = [place, &["secret_map"]].concat();
        placeholder::check_secret_map(&place, &overrides.secret_map, Owner::Pod, violations);
        overrides
    }

    /// Notes whose rights each named source uses: whoever named the same one before, else `actor`.
    pub(crate) fn set_mounted_by(&mut self, before: Option<&Self>, actor: &str) {
        for (path, replaced) in &mut self.volume_mounts {
            let before = before.and_then(|before| before.volume_mounts.get(path));
            let same = before
                .filter(|before| before.source_id == replaced.source_id && before.kind == replaced.kind);
            let by = same.and_then(|before| before.mounted_by.clone()).unwrap_or_else(|| actor.to_owned());
            replaced.mounted_by = replaced.source_id.is_some().then_some(by);
        }
    }

    /// What answers show: the user's own keys.
    #[must_use]
    pub fn without_owners(mut self) -> Self {
        for replaced in self.volume_mounts.values_mut() {
            replaced.mounted_by = None;
        }
        self
    }

    /// Whether nothing is replaced.
    pub fn is_empty(&self) -> bool {
        self.volume_mounts.is_empty() && self.secret_map.is_empty()
    }
}

impl MountOverride {
    fn read(place: &[&str], value: Value, violations: &mut Violations) -> Self {
        let mut reader = Reader::new(place, value, violations);
        let r = &mut reader;
        let kind = word(r, "type", "must be tapisvolume, tapissnapshot, ephemeral or pvc");
        let config_update_mode = word(r, "config_update_mode", "must be always or once");
        // A source of the pod is checked by the kind of the merged mount; only the grammar can be checked here.
        let source_id = checked(r, "source_id", |text| {
            mount::check_source_id(&text, Owner::Pod, kind.unwrap_or(MountKind::TapisVolume)).map(|()| text)
        });
        let sub_path = checked(r, "sub_path", |text| mount::check_sub_path(&text));
        let config_content = checked(r, "config_content", |text| mount::check_content(&text).map(|()| text));
        let config_permissions =
            checked(r, "config_permissions", |text| mount::check_permissions(&text).map(|()| text));
        let config_filename =
            checked(r, "config_filename", |text| mount::check_file_name(&text).map(|()| text));
        let read_only = match r.take("read_only") {
            Field::Set(Value::Bool(read_only)) => Some(read_only),
            Field::Absent | Field::Null => None,
            Field::Set(_) => {
                r.push("read_only", "Input should be true or false");
                None
            }
        };
        reader.finish();
        Self {
            kind,
            source_id,
            sub_path,
            read_only,
            config_content,
            config_permissions,
            config_filename,
            config_update_mode,
            mounted_by: None,
        }
    }

    /// Lays the given keys over a mount.
    pub(super) fn lay_over(&self, mount: &mut VolumeMount) {
        fn replace<T: Clone>(given: &Option<T>, target: &mut T) {
            if let Some(value) = given {
                target.clone_from(value);
            }
        }
        replace(&self.kind, &mut mount.kind);
        replace(&self.sub_path, &mut mount.sub_path);
        replace(&self.read_only, &mut mount.read_only);
        replace(&self.config_permissions, &mut mount.config_permissions);
        replace(&self.config_update_mode, &mut mount.config_update_mode);
        for (given, target) in [
            (&self.source_id, &mut mount.source_id),
            (&self.config_content, &mut mount.config_content),
            (&self.config_filename, &mut mount.config_filename),
        ] {
            if given.is_some() {
                target.clone_from(given);
            }
        }
        if self.source_id.is_some() {
            mount.mounted_by.clone_from(&self.mounted_by);
        }
        // A new kind brings its own rules: a snapshot cannot be written, a file has no source.
        mount.read_only |= mount.kind.always_read_only();
        mount.source_id = mount.source_id.take().filter(|_| mount.kind.has_source());
        mount.mounted_by = mount.mounted_by.take().filter(|_| mount.kind.has_source());
    }
}

fn read_mounts(place: &[&str], value: Value, violations: &mut Violations) -> BTreeMap<String, MountOverride> {
    let Value::Object(members) = value else {
        violations.push(place, "Input should be a valid dictionary, expected a JSON object");
        return BTreeMap::new();
    };
    if members.len() > MOUNTS_MAX {
        violations.rule(place, format!("volume_mounts must have at most {MOUNTS_MAX} entries"));
    }
    let mut overrides = BTreeMap::new();
    for (path, value) in members {
        let place = [place, &[path.as_str()]].concat();
        let replaced = MountOverride::read(&place, value, violations);
        match mount::check_path(&path) {
            Ok(path) => {
                overrides.insert(path, replaced);
            }
            Err(problem) => violations.rule(&place, problem),
        }
    }
    overrides
}

fn given<T: Default>(field: Field<T>) -> T {
    match field {
        Field::Set(value) => value,
        Field::Absent | Field::Null => T::default(),
    }
}

fn word<T: std::str::FromStr>(r: &mut Reader<'_>, key: &str, problem: &str) -> Option<T> {
    let text = r.string(key).value()?.to_ascii_lowercase();
    let parsed = text.parse().ok();
    if parsed.is_none() {
        r.rule(key, format!("{key} {problem}"));
    }
    parsed
}

fn checked(
    r: &mut Reader<'_>,
    key: &str,
    check: impl FnOnce(String) -> Result<String, String>,
) -> Option<String> {
    let Field::Set(text) = r.string(key) else { return None };
    match check(text) {
        Ok(text) => Some(text),
        Err(problem) => {
            r.rule(key, problem);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<TemplateOverrides, Vec<String>> {
        let mut violations = Violations::default();
        let overrides = TemplateOverrides::read(&["body", "template_overrides"], body, &mut violations);
        violations.or(overrides).map_err(|violations| violations.0)
    }

    #[test]
    fn the_given_keys_and_no_others_are_kept() {
        let overrides = read(json!({
            "volume_mounts": {"/data": {"source_id": "my-custom-volume", "read_only": true, "type": "TapisVolume"}},
            "secret_map": {"DB_PASS": "${secret:my_db_password}"}
        }))
        .unwrap();
        let expected = MountOverride {
            kind: Some(MountKind::TapisVolume),
            source_id: Some("my-custom-volume".into()),
            read_only: Some(true),
            ..MountOverride::default()
        };
        assert_eq!(overrides.volume_mounts["/data"], expected);
        assert_eq!(overrides.secret_map["DB_PASS"], "${secret:my_db_password}");
        let stored = serde_json::to_value(&overrides).unwrap();
        assert_eq!(stored["volume_mounts"]["/data"].as_object().unwrap().len(), 3);
        assert_eq!(serde_json::from_value::<TemplateOverrides>(stored).unwrap(), overrides);
        assert!(read(json!({})).unwrap().is_empty());
        assert!(read(json!({"volume_mounts": null, "secret_map": null})).unwrap().is_empty());
    }

    #[test]
    fn every_rule_is_reported_with_its_place() {
        let mounts = "body, template_overrides, volume_mounts";
        for (body, expected) in [
            (json!([]), "body, template_overrides: Input should be a valid dictionary".to_owned()),
            (json!({"image": "x"}), "body, template_overrides, image: Extra inputs".to_owned()),
            (json!({"volume_mounts": []}), format!("{mounts}: Input should be a valid dictionary")),
            (json!({"volume_mounts": {"data": {}}}), format!("{mounts}, data: Value error")),
            (json!({"volume_mounts": {"/a/../b": {}}}), format!("{mounts}, /a/../b: Value error")),
            (
                json!({"volume_mounts": {"/d": null}}),
                format!("{mounts}, /d: Input should be a valid dictionary"),
            ),
            (json!({"volume_mounts": {"/d": {"bogus": 1}}}), format!("{mounts}, /d, bogus: Extra inputs")),
            (
                json!({"volume_mounts": {"/d": {"mounted_by": "x"}}}),
                format!("{mounts}, /d, mounted_by: Extra"),
            ),
            (json!({"volume_mounts": {"/d": {"type": "nfs"}}}), format!("{mounts}, /d, type: Value error")),
            (
                json!({"volume_mounts": {"/d": {"source_id": "Not ok"}}}),
                format!("{mounts}, /d, source_id: Value"),
            ),
            (
                json!({"volume_mounts": {"/d": {"source_id": "${:?x}"}}}),
                format!("{mounts}, /d, source_id: Value"),
            ),
            (
                json!({"volume_mounts": {"/d": {"sub_path": "../x"}}}),
                format!("{mounts}, /d, sub_path: Value"),
            ),
            (
                json!({"volume_mounts": {"/d": {"read_only": "yes"}}}),
                format!("{mounts}, /d, read_only: Input"),
            ),
            (
                json!({"volume_mounts": {"/d": {"config_permissions": "9"}}}),
                format!("{mounts}, /d, config_perm"),
            ),
            (
                json!({"volume_mounts": {"/d": {"config_filename": "a/b"}}}),
                format!("{mounts}, /d, config_filen"),
            ),
            (
                json!({"volume_mounts": {"/d": {"config_update_mode": "never"}}}),
                format!("{mounts}, /d, config_up"),
            ),
            (json!({"secret_map": {"K": 1}}), "body, template_overrides, secret_map, K: Input".to_owned()),
            (json!({"secret_map": {"K K": "x"}}), "body, template_overrides, secret_map".to_owned()),
        ] {
            let problems = read(body.clone()).unwrap_err();
            assert!(problems.iter().any(|line| line.starts_with(&expected)), "{body}: {problems:?}");
        }
    }
}
