//! What each field of a mount may say. Every function answers with a sentence for the user.

use super::{MountKind, Owner, VolumeMount};
use crate::{
    limits::{CONFIG_BYTES_MAX, CONFIG_FILENAME_MAX, MOUNT_PATH_MAX, SOURCE_ID_MAX, SUB_PATH_MAX},
    placeholder::{self, Pattern},
};

/// A mount path in its one spelling: no repeated or trailing slashes and no `.` parts.
///
/// # Errors
/// It is not absolute, leaves the tree, is the root itself, or cannot be a mount path in Kubernetes.
pub fn check_path(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err("the mount path must start with /".to_owned());
    }
    if path.len() > MOUNT_PATH_MAX {
        return Err(format!("the mount path must have at most {MOUNT_PATH_MAX} characters"));
    }
    if path.contains("..") {
        return Err("the mount path must not contain ..".to_owned());
    }
    if path.contains([':', '\\']) || path.chars().any(char::is_control) {
        return Err("the mount path must not contain a colon, a backslash or control characters".to_owned());
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    match parts.is_empty() {
        true => Err("the mount path must be below /".to_owned()),
        false => Ok(format!("/{}", parts.join("/"))),
    }
}

/// Checks the id of a volume, snapshot or claim.
///
/// # Errors
/// It is missing, no id, or, in a template, the id of something that belongs to one user.
pub fn check_source_id(source_id: &str, owner: Owner, kind: MountKind) -> Result<(), String> {
    if source_id.is_empty() {
        return Err(format!("source_id is required for type {kind}: name the {}", noun(kind)));
    }
    if let Some(Pattern::Required { .. }) = placeholder::whole(source_id) {
        return match owner {
            Owner::Template => Ok(()),
            Owner::Pod => Err(format!("source_id is a placeholder of templates; name the {}", noun(kind))),
        };
    }
    if owner == Owner::Template && matches!(kind, MountKind::TapisVolume | MountKind::TapisSnapshot) {
        return Err(format!(
            "source_id must be a placeholder like ${{:?Volume for the data}} in a template, because a {} belongs \
             to one user",
            noun(kind)
        ));
    }
    let character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let legal = (2..=SOURCE_ID_MAX).contains(&source_id.len())
        && source_id.starts_with(|c: char| c.is_ascii_lowercase())
        && source_id.chars().all(character);
    match legal {
        true => Ok(()),
        false => Err(format!(
            "source_id must be 2 to {SOURCE_ID_MAX} lower-case letters, digits and hyphens and start with a letter"
        )),
    }
}

/// A path inside of a source, without leading and trailing slashes.
///
/// # Errors
/// It leaves the source, or cannot be a path in Kubernetes.
pub fn check_sub_path(sub_path: &str) -> Result<String, String> {
    if sub_path.contains("..") || sub_path.contains('\\') || sub_path.chars().any(char::is_control) {
        return Err("sub_path must not contain .., a backslash or control characters".to_owned());
    }
    if sub_path.len() > SUB_PATH_MAX {
        return Err(format!("sub_path must have at most {SUB_PATH_MAX} characters"));
    }
    let parts: Vec<&str> = sub_path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    Ok(parts.join("/"))
}

/// Checks the mode of a configuration file.
///
/// # Errors
/// It is not three or four octal digits.
pub fn check_permissions(mode: &str) -> Result<(), String> {
    match (3..=4).contains(&mode.len()) && mode.chars().all(|c| matches!(c, '0'..='7')) {
        true => Ok(()),
        false => Err("config_permissions must be three or four octal digits like 0644".to_owned()),
    }
}

/// Checks the name of a configuration file.
///
/// # Errors
/// It is no plain file name.
pub fn check_file_name(name: &str) -> Result<(), String> {
    let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let legal = !name.is_empty()
        && name.len() <= CONFIG_FILENAME_MAX
        && name != "."
        && !name.contains("..")
        && name.chars().all(character);
    match legal {
        true => Ok(()),
        false => Err(format!(
            "config_filename must be 1 to {CONFIG_FILENAME_MAX} letters, digits, . _ - without .."
        )),
    }
}

/// Checks the content of a configuration file.
///
/// # Errors
/// It is too long, or the text that answers show in place of a content.
pub fn check_content(content: &str) -> Result<(), String> {
    if content.len() > CONFIG_BYTES_MAX {
        return Err(format!(
            "config_content has {} bytes, at most {CONFIG_BYTES_MAX} are possible",
            content.len()
        ));
    }
    if super::is_redaction(content) {
        return Err(
            "config_content is the text that answers show in place of the content; send the content \
                    itself (read it with ?include_configs=true)"
                .to_owned(),
        );
    }
    Ok(())
}

/// Checks what the fields of a mount demand of each other.
///
/// # Errors
/// The first rule that is broken.
pub fn check(path: &str, mount: &VolumeMount) -> Result<(), String> {
    let kind = mount.kind;
    if kind.has_source() && mount.source_id.is_none() {
        return Err(format!("source_id is required for type {kind}: name the {}", noun(kind)));
    }
    if !kind.has_source() && mount.source_id.is_some() {
        return Err("source_id is not possible for type ephemeral".to_owned());
    }
    match kind {
        MountKind::Ephemeral if mount.config_content.is_none() => {
            Err("config_content is required for type ephemeral".to_owned())
        }
        MountKind::Ephemeral => check_file_name(mount.file_name(path)).map_err(|_| {
            "give config_filename, because the last part of the mount path is no plain file name".to_owned()
        }),
        MountKind::TapisVolume if mount.config_content.is_some() && mount.config_filename.is_none() => {
            Err("config_filename is required when a tapisvolume has config_content".to_owned())
        }
        MountKind::TapisSnapshot | MountKind::Pvc if mount.config_content.is_some() => {
            Err(format!("config_content is not possible for type {kind}"))
        }
        MountKind::TapisVolume | MountKind::TapisSnapshot | MountKind::Pvc => Ok(()),
    }
}

fn noun(kind: MountKind) -> &'static str {
    match kind {
        MountKind::TapisVolume => "volume",
        MountKind::TapisSnapshot => "snapshot",
        MountKind::Pvc => "claim",
        MountKind::Ephemeral => "file",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mount_paths_have_one_spelling() {
        for (path, expected) in
            [("/data", "/data"), ("//a///b/", "/a/b"), ("/a/./b", "/a/b"), ("/ä b", "/ä b")]
        {
            assert_eq!(check_path(path).as_deref(), Ok(expected));
        }
        for bad in ["", "data", "/", "//", "/./", "/a/../b", "/a..b", "/a:b", "/a\nb", "/a\\b"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        assert!(check_path(&format!("/{}", "x".repeat(MOUNT_PATH_MAX))).is_err());
    }

    #[test]
    fn sources_are_ids_in_pods_and_placeholders_in_templates() {
        let placeholder = "${:?Volume for the data}";
        let cases = [
            ("myvol-1", Owner::Pod, MountKind::TapisVolume, true),
            ("", Owner::Pod, MountKind::TapisVolume, false),
            ("My", Owner::Pod, MountKind::Pvc, false),
            ("1vol", Owner::Pod, MountKind::TapisVolume, false),
            ("v", Owner::Pod, MountKind::TapisVolume, false),
            ("a/b", Owner::Pod, MountKind::TapisVolume, false),
            (placeholder, Owner::Pod, MountKind::TapisVolume, false),
            (placeholder, Owner::Template, MountKind::TapisVolume, true),
            (placeholder, Owner::Template, MountKind::Pvc, true),
            ("myvol", Owner::Template, MountKind::TapisVolume, false),
            ("myvol", Owner::Template, MountKind::TapisSnapshot, false),
            ("myvol", Owner::Template, MountKind::Pvc, true),
            ("${secret:x}", Owner::Template, MountKind::Pvc, false),
        ];
        for (source, owner, kind, expected) in cases {
            assert_eq!(check_source_id(source, owner, kind).is_ok(), expected, "{source} {owner:?} {kind}");
        }
    }

    #[test]
    fn sub_paths_stay_inside_of_the_source() {
        for (given, expected) in [("", ""), ("/data", "data"), ("a//b/", "a/b"), ("./a", "a")] {
            assert_eq!(check_sub_path(given).as_deref(), Ok(expected));
        }
        for bad in ["..", "a/../b", "a\\b", "a\u{7}"] {
            assert!(check_sub_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn modes_and_file_names_are_plain() {
        for good in ["644", "0644", "7777"] {
            assert!(check_permissions(good).is_ok(), "{good}");
        }
        for bad in ["", "64", "0o644", "888", "00644"] {
            assert!(check_permissions(bad).is_err(), "{bad}");
        }
        for good in ["a", "config.ini", ".env", "A_b-1"] {
            assert!(check_file_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a..b", "ä"] {
            assert!(check_file_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_must_fit_together() {
        let mount = |kind| VolumeMount::new(kind);
        let with_source = |kind| VolumeMount { source_id: Some("myvol".into()), ..mount(kind) };
        let with_content = |m: VolumeMount| VolumeMount { config_content: Some("x".into()), ..m };
        let cases = [
            (mount(MountKind::TapisVolume), "source_id is required for type tapisvolume"),
            (mount(MountKind::Ephemeral), "config_content is required"),
            (with_content(with_source(MountKind::Ephemeral)), "not possible for type ephemeral"),
            (with_content(with_source(MountKind::TapisVolume)), "config_filename is required"),
            (with_content(with_source(MountKind::Pvc)), "not possible for type pvc"),
            (with_content(with_source(MountKind::TapisSnapshot)), "not possible for type tapissnapshot"),
        ];
        for (mount, expected) in cases {
            let problem = check("/data", &mount).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        assert!(check("/data", &with_source(MountKind::TapisVolume)).is_ok());
        assert!(check("/etc/app.ini", &with_content(mount(MountKind::Ephemeral))).is_ok());
        assert!(check("/etc/ä b", &with_content(mount(MountKind::Ephemeral))).is_err());
    }

    proptest! {
        #[test]
        fn a_checked_path_is_its_own_spelling(path in "\\PC*") {
            if let Ok(spelling) = check_path(&path) {
                prop_assert_eq!(check_path(&spelling), Ok(spelling.clone()));
            }
            if let Ok(spelling) = check_sub_path(&path) {
                prop_assert_eq!(check_sub_path(&spelling), Ok(spelling.clone()));
            }
        }
    }
}
