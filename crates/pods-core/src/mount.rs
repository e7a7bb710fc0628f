//! Mounts of a pod, keyed by mount path (Tapis Pods documentation, "Volume Mounts Schema").

mod read;
mod rules;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    placeholder::{self, Pattern},
    status::text_enum,
};

pub use read::read;
pub use rules::{
    check, check_content, check_file_name, check_path, check_permissions, check_source_id, check_sub_path,
};

text_enum! {
    /// What is mounted.
    MountKind {
        /// A volume of the volumes API.
        TapisVolume => "tapisvolume",
        /// A snapshot, always read-only.
        TapisSnapshot => "tapissnapshot",
        /// A file whose content stands in the definition.
        Ephemeral => "ephemeral",
        /// A Kubernetes PersistentVolumeClaim.
        Pvc => "pvc",
    }
}

text_enum! {
    /// When a configuration file is written into its volume.
    ConfigUpdateMode {
        /// At every start.
        Always => "always",
        /// Only when it is not there yet.
        Once => "once",
    }
}

/// Whose definition a mount or a secret map stands in; templates must leave open what belongs to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A pod's own definition.
    Pod,
    /// The definition of a template tag.
    Template,
}

/// Mounts by path. `None` removes the mount that a template has at the path; it is remembered, and never shown.
pub type Mounts = BTreeMap<String, Option<VolumeMount>>;

/// One mount, every field filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// What is mounted.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// Id of the volume, snapshot or claim; in templates a placeholder `${:?text}`; none for `ephemeral`.
    pub source_id: Option<String>,
    /// Path below the source that is mounted; empty is all of it.
    pub sub_path: String,
    /// Whether the container may not write.
    pub read_only: bool,
    /// Content of a configuration file.
    pub config_content: Option<String>,
    /// Unix mode of the configuration file, octal.
    pub config_permissions: String,
    /// Name of the configuration file inside a volume.
    pub config_filename: Option<String>,
    /// When the configuration file is written.
    pub config_update_mode: ConfigUpdateMode,
    /// The user whose rights on the source the mount uses; written by the service.
    pub mounted_by: Option<String>,
}

impl MountKind {
    /// Whether a mount of this kind names something by `source_id`.
    pub fn has_source(self) -> bool {
        self != MountKind::Ephemeral
    }

    /// Whether a container can never write to a mount of this kind.
    pub fn always_read_only(self) -> bool {
        matches!(self, MountKind::TapisSnapshot | MountKind::Ephemeral)
    }
}

impl VolumeMount {
    /// A mount with nothing but the defaults of its kind.
    pub fn new(kind: MountKind) -> Self {
        Self {
            kind,
            source_id: None,
            sub_path: String::new(),
            read_only: kind.always_read_only(),
            config_content: None,
            config_permissions: "0644".to_owned(),
            config_filename: None,
            config_update_mode: ConfigUpdateMode::Always,
            mounted_by: None,
        }
    }

    /// Name of the configuration file: the one that was given, else the last part of the mount path.
    pub fn file_name<'a>(&'a self, path: &'a str) -> &'a str {
        match &self.config_filename {
            Some(name) => name,
            None => path.rsplit('/').next().unwrap_or(path),
        }
    }

    /// The description of a source that a user still has to name: the text of `${:?text}`.
    pub fn placeholder(&self) -> Option<&str> {
        match placeholder::whole(self.source_id.as_deref()?) {
            Some(Pattern::Required { description }) => Some(description),
            _ => None,
        }
    }

    fn same_source(&self, other: &VolumeMount) -> bool {
        self.kind == other.kind && self.source_id == other.source_id
    }

    /// Whether this mount shows no other part of the source than `before`, and writes nothing that `before` did not.
    fn uses_no_more_than(&self, before: &VolumeMount) -> bool {
        let VolumeMount {
            kind: _,
            source_id: _,
            sub_path,
            read_only,
            config_content,
            config_permissions,
            config_filename,
            config_update_mode,
            mounted_by: _,
        } = self;
        let same_file = *config_content == before.config_content
            && *config_filename == before.config_filename
            && *config_permissions == before.config_permissions
            && *config_update_mode == before.config_update_mode;
        self.same_source(before)
            && *sub_path == before.sub_path
            && (*read_only || !before.read_only)
            && (same_file || config_content.is_none())
    }
}

const REDACTION_START: &str = "<";
const REDACTION_END: &str = " characters - use ?include_configs=true to see them>";

/// The mount as answers show it unless `include_configs=true` asks for everything: configuration files often hold
/// passwords, so a text that says how long the content is stands in its place.
pub fn redacted(mount: &VolumeMount) -> VolumeMount {
    let config_content = mount.config_content.as_deref().map(redaction);
    VolumeMount { config_content, ..mount.clone() }
}

/// Puts the text of [`redacted`] in place of every content.
pub fn redact(mounts: &mut Mounts) {
    for mount in mounts.values_mut().flatten() {
        mount.config_content = mount.config_content.as_deref().map(redaction);
    }
}

/// The text in place of a content; an empty file has nothing to hide. What is redacted stays as it is.
pub fn redaction(content: &str) -> String {
    match content {
        "" => String::new(),
        content if is_redaction(content) => content.to_owned(),
        content => format!("{REDACTION_START}{}{REDACTION_END}", content.chars().count()),
    }
}

/// Whether a text is what [`redacted`] puts in place of a content. Storing it would destroy the file of somebody
/// who sends back what a form showed.
pub fn is_redaction(text: &str) -> bool {
    text.trim()
        .strip_prefix(REDACTION_START)
        .and_then(|rest| rest.strip_suffix(REDACTION_END))
        .is_some_and(|count| !count.is_empty() && count.chars().all(|c| c.is_ascii_digit()))
}

/// Notes in `new` whose rights each mount uses: whoever mounted the same source at the same path before, else
/// `actor`. Files that stand in the definition use nobody's rights.
pub fn set_mounted_by(old: &Mounts, new: &mut Mounts, actor: &str) {
    for (path, mount) in new {
        let Some(mount) = mount else { continue };
        let before = old.get(path).and_then(Option::as_ref).filter(|before| before.same_source(mount));
        mount.mounted_by = match before {
            _ if !mount.kind.has_source() => None,
            Some(VolumeMount { mounted_by: Some(user), .. }) => Some(user.clone()),
            _ => Some(actor.to_owned()),
        };
    }
}

/// Paths of mounts that somebody else than `actor` made and that `new` removes, points to another source or widens.
/// Only an ADMIN of the pod may do that: the mount goes on using the rights of whoever made it.
pub fn foreign_changes(old: &Mounts, new: &Mounts, actor: &str) -> Vec<String> {
    let foreign = |mount: &&VolumeMount| mount.mounted_by.as_deref().is_some_and(|user| user != actor);
    let kept = |path: &str, mount: &VolumeMount| {
        new.get(path).and_then(Option::as_ref).is_some_and(|after| after.uses_no_more_than(mount))
    };
    old.iter()
        .filter_map(|(path, mount)| mount.as_ref().filter(foreign).map(|mount| (path, mount)))
        .filter(|(path, mount)| !kept(path, mount))
        .map(|(path, _)| path.clone())
        .collect()
}

/// A mount whose source a user still has to name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumePlaceholder {
    /// Where it is mounted.
    pub mount_path: String,
    /// What has to be named.
    pub mount_type: MountKind,
    /// What the template says about it.
    pub description: String,
}

/// Mounts whose source is still a placeholder.
pub fn placeholders(mounts: &Mounts) -> Vec<VolumePlaceholder> {
    mounts
        .iter()
        .filter_map(|(path, mount)| {
            let mount = mount.as_ref()?;
            Some(VolumePlaceholder {
                mount_path: path.clone(),
                mount_type: mount.kind,
                description: mount.placeholder()?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn volume(id: &str, user: &str) -> Option<VolumeMount> {
        let mut mount = VolumeMount::new(MountKind::TapisVolume);
        mount.source_id = Some(id.to_owned());
        mount.mounted_by = Some(user.to_owned()).filter(|user| !user.is_empty());
        Some(mount)
    }

    fn mounts(entries: &[(&str, Option<VolumeMount>)]) -> Mounts {
        entries.iter().map(|(path, mount)| ((*path).to_owned(), mount.clone())).collect()
    }

    #[test]
    fn contents_are_redacted_and_the_redaction_is_recognised() {
        let mut mount = VolumeMount::new(MountKind::Ephemeral);
        mount.config_content = Some("pässword".to_owned());
        let shown = redacted(&mount).config_content.unwrap();
        assert_eq!(shown, "<8 characters - use ?include_configs=true to see them>");
        assert!(is_redaction(&shown));
        assert!(!is_redaction("<html>8 characters</html>"));
        mount.config_content = Some(String::new());
        assert_eq!(redacted(&mount), mount, "nothing to hide in an empty file");
    }

    #[test]
    fn a_mount_uses_the_rights_of_whoever_named_its_source() {
        let old = mounts(&[("/a", volume("one", "ann")), ("/b", volume("two", "ann"))]);
        let ephemeral = Some(VolumeMount::new(MountKind::Ephemeral));
        let mut new = mounts(&[
            ("/a", volume("one", "mallory")),
            ("/b", volume("other", "")),
            ("/c", ephemeral),
            ("/d", None),
        ]);
        set_mounted_by(&old, &mut new, "bob");
        let by = |path: &str| new[path].as_ref().unwrap().mounted_by.as_deref();
        assert_eq!((by("/a"), by("/b"), by("/c")), (Some("ann"), Some("bob"), None));
    }

    #[test]
    fn mounts_of_others_are_named_when_they_lose_their_source() {
        let old = mounts(&[
            ("/gone", volume("one", "ann")),
            ("/mine", volume("two", "bob")),
            ("/moved", volume("one", "ann")),
            ("/kept", volume("one", "ann")),
            ("/removed", volume("one", "ann")),
        ]);
        let new = mounts(&[("/moved", volume("x1", "")), ("/kept", volume("one", "")), ("/removed", None)]);
        assert_eq!(foreign_changes(&old, &new, "bob"), ["/gone", "/moved", "/removed"]);
        assert!(foreign_changes(&old, &old, "bob").is_empty());
    }

    #[test]
    fn mounts_of_others_are_not_widened() {
        let with = |change: &dyn Fn(&mut VolumeMount)| {
            let mut mount = volume("one", "ann").unwrap();
            mount.read_only = true;
            mount.sub_path = "public".to_owned();
            change(&mut mount);
            mounts(&[("/a", Some(mount))])
        };
        let old = with(&|_| ());
        type Change<'c> = &'c dyn Fn(&mut VolumeMount);
        let changes: [(Change<'_>, bool); 6] = [
            (&|_| (), false),
            (&|mount| mount.read_only = false, true),
            (&|mount| mount.sub_path.clear(), true),
            (&|mount| mount.sub_path = "public/a".to_owned(), true),
            (&|mount| mount.config_content = Some("x".to_owned()), true),
            (&|mount| mount.config_permissions = "0600".to_owned(), false),
        ];
        for (index, (change, foreign)) in changes.into_iter().enumerate() {
            assert_eq!(!foreign_changes(&old, &with(change), "bob").is_empty(), foreign, "{index}");
            assert!(foreign_changes(&old, &with(change), "ann").is_empty());
        }
        let writable = with(&|mount| mount.read_only = false);
        assert!(foreign_changes(&writable, &old, "bob").is_empty(), "less is no harm");
        let file = with(&|mount| mount.config_content = Some("x".to_owned()));
        assert!(
            !foreign_changes(&file, &with(&|mount| mount.config_content = Some("y".to_owned())), "bob")
                .is_empty()
        );
        assert!(foreign_changes(&file, &old, "bob").is_empty());
    }

    #[test]
    fn placeholders_name_path_kind_and_description() {
        let open = mounts(&[("/data", volume("${:?Volume for the data}", "")), ("/x", volume("one", ""))]);
        let found = placeholders(&open);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].mount_path.as_str(), found[0].description.as_str()),
            ("/data", "Volume for the data")
        );
    }

    #[test]
    fn the_file_name_falls_back_to_the_path() {
        let mut mount = VolumeMount::new(MountKind::Ephemeral);
        assert_eq!(mount.file_name("/etc/app/config.ini"), "config.ini");
        mount.config_filename = Some("x.yml".to_owned());
        assert_eq!(mount.file_name("/etc/app/config.ini"), "x.yml");
    }

    proptest! {
        #[test]
        fn whatever_is_redacted_is_recognised(content in ".+") {
            let mut mount = VolumeMount::new(MountKind::Ephemeral);
            mount.config_content = Some(content);
            let shown = redacted(&mount).config_content.unwrap_or_default();
            prop_assert!(is_redaction(&shown));
            prop_assert_eq!(redaction(&shown), shown);
        }
    }
}
