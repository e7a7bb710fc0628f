//! Reading `volume_mounts` of a body, in its present shape and in the older ones that scripts still send.

use serde_json::{Map, Value};

use super::{ConfigUpdateMode, MountKind, Mounts, Owner, VolumeMount, rules};
use crate::{
    input::{Field, Reader, Violations},
    limits::MOUNTS_MAX,
};

/// Where the oldest shape mounts a volume that names no path.
const OLD_DEFAULT_PATH: &str = "/tapis_volume_mount";

/// Reads mounts. Besides the object keyed by mount path, three older shapes are understood: a list whose items
/// have a `mount_path`, and an object keyed by the id of a volume, with or without `volume_id` beside it.
pub fn read(place: &[&str], value: Value, owner: Owner, violations: &mut Violations) -> Mounts {
    let entries = match value {
        Value::Object(entries) => entries.into_iter().map(|(key, value)| entry(key, value)).collect(),
        Value::Array(items) => {
            items.into_iter().enumerate().map(|(at, item)| item_of_list(at, item)).collect()
        }
        _ => {
            violations.push(place, "Input should be a valid dictionary, expected a JSON object");
            Vec::new()
        }
    };
    if entries.len() > MOUNTS_MAX {
        violations.rule(place, format!("at most {MOUNTS_MAX} mounts are possible"));
        return Mounts::new();
    }
    let mut mounts = Mounts::new();
    for Entry { key, path, value } in entries {
        let place = [place, &[key.as_str()]].concat();
        let path = match path.and_then(|path| rules::check_path(&path)) {
            Ok(path) => path,
            Err(problem) => {
                invalid(&place, &key, &problem, violations);
                continue;
            }
        };
        let mount = match value {
            Value::Null => None,
            value => Some(read_mount(&place, &path, value, owner, violations)),
        };
        if mounts.insert(path.clone(), mount).is_some() {
            invalid(&place, &path, "two mounts have this path", violations);
        }
    }
    mounts
}

fn invalid(place: &[&str], path: &str, problem: &str, violations: &mut Violations) {
    let path: String = path.chars().take(100).collect();
    violations.rule(place, format!("Invalid volume mount at '{path}': {problem}"));
}

/// One mount on its way to the present shape.
struct Entry {
    /// What the body calls it.
    key: String,
    /// The path, or what is missing.
    path: Result<String, String>,
    value: Value,
}

fn entry(key: String, value: Value) -> Entry {
    if key.starts_with('/') {
        return Entry { path: Ok(key.clone()), key, value };
    }
    match value {
        Value::Object(members) if is_keyed_by_source(&key, &members) => keyed_by_source(key, members),
        value => Entry { path: Err("the mount path must start with /".to_owned()), key, value },
    }
}

fn is_keyed_by_source(key: &str, members: &Map<String, Value>) -> bool {
    let is_id = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    members.contains_key("mount_path") || (is_id && !members.contains_key("source_id"))
}

fn keyed_by_source(key: String, mut members: Map<String, Value>) -> Entry {
    let mut text = |name: &str| match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} must be a text")),
    };
    let (path, volume, snapshot) = (text("mount_path"), text("volume_id"), text("snapshot_id"));
    let source = volume.and_then(|volume| Ok(volume.or(snapshot?)));
    let is_ephemeral = members.get("type").and_then(Value::as_str).is_some_and(|kind| kind == "ephemeral");
    if !is_ephemeral && !members.contains_key("source_id") {
        let source = source.as_ref().ok().and_then(Clone::clone).unwrap_or_else(|| key.clone());
        members.insert("source_id".to_owned(), Value::String(source));
    }
    let path = source.and(path).map(|path| path.unwrap_or_else(|| OLD_DEFAULT_PATH.to_owned()));
    Entry { key, path, value: Value::Object(members) }
}

fn item_of_list(at: usize, item: Value) -> Entry {
    let key = at.to_string();
    let Value::Object(mut members) = item else {
        return Entry { key, path: Err("expected a JSON object with a mount_path".to_owned()), value: item };
    };
    let path = match members.remove("mount_path") {
        Some(Value::String(path)) => Ok(path),
        _ => Err("mount_path is required in a list of mounts".to_owned()),
    };
    Entry { key, path, value: Value::Object(members) }
}

fn read_mount(
    place: &[&str],
    path: &str,
    value: Value,
    owner: Owner,
    violations: &mut Violations,
) -> VolumeMount {
    let noted_before = violations.0.len();
    let mut reader = Reader::new(place, value, violations);
    let r = &mut reader;
    let kind = read_kind(r);
    let mut mount = VolumeMount::new(kind.unwrap_or(MountKind::TapisVolume));
    // Who mounted something is the service's to say.
    let _ = r.take("mounted_by");
    if let Field::Set(source_id) = r.string("source_id") {
        let unset = source_id.is_empty() && !mount.kind.has_source();
        mount.source_id = Some(source_id).filter(|_| !unset);
    }
    if let Field::Set(sub_path) = r.string("sub_path") {
        match rules::check_sub_path(&sub_path) {
            Ok(_) if mount.kind == MountKind::Ephemeral => {}
            Ok(sub_path) => mount.sub_path = sub_path,
            Err(problem) => r.rule("sub_path", problem),
        }
    }
    if let Field::Set(read_only) = r.boolean("read_only") {
        mount.read_only = read_only || mount.kind.always_read_only();
    }
    if let Field::Set(content) = r.string("config_content") {
        checked(r, "config_content", rules::check_content(&content));
        // An untouched form sends an empty text; only an ephemeral file can mean it.
        mount.config_content =
            Some(content).filter(|content| mount.kind == MountKind::Ephemeral || !content.is_empty());
    }
    if let Field::Set(mode) = r.string("config_permissions")
        && !mode.is_empty()
    {
        checked(r, "config_permissions", rules::check_permissions(&mode));
        mount.config_permissions = mode;
    }
    if let Field::Set(name) = r.string("config_filename")
        && !name.is_empty()
    {
        checked(r, "config_filename", rules::check_file_name(&name));
        mount.config_filename = Some(name);
    }
    if let Field::Set(mode) = r.string("config_update_mode")
        && !mode.is_empty()
    {
        match mode.to_ascii_lowercase().parse::<ConfigUpdateMode>() {
            Ok(mode) => mount.config_update_mode = mode,
            Err(_) => r.rule("config_update_mode", "config_update_mode must be always or once"),
        }
    }
    if kind.is_some()
        && let Some(source_id) = &mount.source_id
        && mount.kind.has_source()
    {
        checked(r, "source_id", rules::check_source_id(source_id, owner, mount.kind));
    }
    reader.finish();
    if kind.is_some()
        && violations.0.len() == noted_before
        && let Err(problem) = rules::check(path, &mount)
    {
        invalid(place, path, &problem, violations);
    }
    mount
}

fn read_kind(r: &mut Reader<'_>) -> Option<MountKind> {
    match r.string("type") {
        Field::Set(text) => match text.to_ascii_lowercase().parse() {
            Ok(kind) => Some(kind),
            Err(_) => {
                r.rule("type", "type must be tapisvolume, tapissnapshot, ephemeral or pvc");
                None
            }
        },
        Field::Null => {
            r.push("type", "Input should be a valid string");
            None
        }
        Field::Absent => {
            if !r.is_noted("type") {
                r.push("type", "Field required");
            }
            None
        }
    }
}

fn checked(r: &mut Reader<'_>, key: &str, result: Result<(), String>) {
    if let Err(problem) = result {
        r.rule(key, problem);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parsed(body: Value, owner: Owner) -> Result<Mounts, Vec<String>> {
        let mut violations = Violations::default();
        let mounts = read(&["body", "volume_mounts"], body, owner, &mut violations);
        violations.or(mounts).map_err(|v| v.0)
    }

    #[test]
    fn the_present_shape_gets_the_defaults_of_its_kind() {
        let mounts = parsed(
            json!({
                "/data/": {"type": "TapisVolume", "source_id": "myvol", "mounted_by": "mallory"},
                "/ro": {"type": "tapissnapshot", "source_id": "snap", "sub_path": "/data", "read_only": false},
                "/etc/app.ini": {"type": "ephemeral", "config_content": "a=1", "source_id": "", "read_only": false},
                "/claim": {"type": "pvc", "source_id": "claim-1", "config_content": "", "config_filename": ""},
                "/gone": null
            }),
            Owner::Pod,
        )
        .unwrap();
        let mount = |path: &str| mounts[path].clone().unwrap();
        assert_eq!(mount("/data").mounted_by, None);
        assert!(!mount("/data").read_only && !mount("/claim").read_only);
        assert!(mount("/ro").read_only && mount("/etc/app.ini").read_only);
        assert_eq!(mount("/ro").sub_path, "data");
        assert_eq!(mount("/etc/app.ini").config_permissions, "0644");
        assert_eq!((mount("/claim").config_content, mount("/claim").config_filename), (None, None));
        assert_eq!(mounts["/gone"], None);
    }

    #[test]
    fn what_is_answered_can_be_sent_back() {
        let body = json!({
            "/data": {"type": "tapisvolume", "source_id": "myvol", "config_content": "x", "config_filename": "a.b"},
            "/f": {"type": "ephemeral", "config_content": ""}
        });
        let mounts = parsed(body, Owner::Pod).unwrap();
        assert_eq!(parsed(serde_json::to_value(&mounts).unwrap(), Owner::Pod).unwrap(), mounts);
    }

    #[test]
    fn older_shapes_become_the_present_one() {
        let expected =
            parsed(json!({"/mnt": {"type": "tapisvolume", "source_id": "myvol"}}), Owner::Pod).unwrap();
        for body in [
            json!({"myvol": {"type": "tapisvolume", "mount_path": "/mnt", "sub_path": ""}}),
            json!({"anything": {"type": "tapisvolume", "mount_path": "/mnt", "volume_id": "myvol"}}),
            json!([{"type": "tapisvolume", "source_id": "myvol", "mount_path": "/mnt"}]),
        ] {
            assert_eq!(parsed(body.clone(), Owner::Pod).as_ref(), Ok(&expected), "{body}");
        }
        let old = parsed(json!({"myvol": {"type": "tapisvolume"}}), Owner::Pod).unwrap();
        assert_eq!(old["/tapis_volume_mount"].as_ref().unwrap().source_id.as_deref(), Some("myvol"));
        assert_eq!(parsed(json!([]), Owner::Pod), Ok(Mounts::new()));
    }

    #[test]
    fn each_problem_is_named_with_its_path() {
        let long = "x".repeat(crate::limits::CONFIG_BYTES_MAX + 1);
        let cases = [
            (json!({"/mount1": {"type": "tapisvolume", "source_id": ""}}), "source_id is required for type"),
            (json!({"/m": {"type": "tapisvolume"}}), "Invalid volume mount at '/m': source_id is required"),
            (json!({"/m": {"source_id": "x1"}}), "body, volume_mounts, /m, type: Field required"),
            (json!({"/m": {"type": "nfs"}}), "must be tapisvolume"),
            (json!({"/m": {"type": null}}), "valid string"),
            (json!({"/m": 7}), "expected a JSON object"),
            (json!({"rel/path": {"type": "tapisvolume", "source_id": "x1"}}), "must start with /"),
            (json!({"rel": null}), "must start with /"),
            (json!({"/a/../b": null}), "must not contain .."),
            (json!({"/a": null, "/a/": null}), "two mounts have this path"),
            (json!([{"type": "tapisvolume", "source_id": "x1"}]), "mount_path is required"),
            (json!(["/a"]), "expected a JSON object with a mount_path"),
            (json!("x"), "expected a JSON object"),
            (json!({"/m": {"type": "ephemeral"}}), "config_content is required"),
            (json!({"/m": {"type": "ephemeral", "config_content": "x", "source_id": "x1"}}), "not possible"),
            (json!({"/m": {"type": "ephemeral", "config_content": long}}), "at most 1048576"),
            (
                json!({"/m": {"type": "ephemeral",
                    "config_content": "<12 characters - use ?include_configs=true to see them>"}}),
                "send the content itself",
            ),
            (json!({"/m": {"type": "pvc", "source_id": "x1", "config_content": "x"}}), "type pvc"),
            (
                json!({"/m": {"type": "tapisvolume", "source_id": "x1", "config_content": "x"}}),
                "config_filename is required",
            ),
            (json!({"/m": {"type": "pvc", "source_id": "x1", "sub_path": "a/.."}}), "sub_path must not"),
            (json!({"/m": {"type": "pvc", "source_id": "x1", "config_permissions": "9"}}), "octal"),
            (json!({"/m": {"type": "pvc", "source_id": "x1", "config_filename": "a/b"}}), "config_filename"),
            (
                json!({"/m": {"type": "pvc", "source_id": "x1", "config_update_mode": "never"}}),
                "always or once",
            ),
            (json!({"/m": {"type": "pvc", "source_id": "x1", "volume_id": "x1"}}), "Extra inputs"),
            (
                json!({"m": {"type": "pvc", "mount_path": "/m", "source_id": "x1", "volume_id": {}}}),
                "volume_id must be a text",
            ),
            (json!({"/m": {"type": "tapisvolume", "source_id": "${:?Which}"}}), "placeholder of templates"),
        ];
        for (body, expected) in cases {
            let problems = parsed(body.clone(), Owner::Pod).unwrap_err();
            assert!(problems.iter().any(|line| line.contains(expected)), "{expected}: {problems:?}");
            assert!(problems[0].starts_with("body, volume_mounts"), "{problems:?}");
        }
        let many: Map<String, Value> = (0..=MOUNTS_MAX).map(|at| (format!("/m{at}"), Value::Null)).collect();
        assert!(parsed(Value::Object(many), Owner::Pod).unwrap_err()[0].contains("at most 20 mounts"));
    }

    #[test]
    fn templates_leave_volumes_open() {
        let open = json!({"/d": {"type": "tapisvolume", "source_id": "${:?Volume for the data}"}});
        assert!(parsed(open, Owner::Template).is_ok());
        let literal = json!({"/d": {"type": "tapisvolume", "source_id": "myvol"}});
        assert!(parsed(literal, Owner::Template).unwrap_err()[0].contains("must be a placeholder"));
        assert!(parsed(json!({"/d": {"type": "pvc", "source_id": "claim"}}), Owner::Template).is_ok());
        assert!(parsed(json!({"/d": {"type": "ephemeral"}}), Owner::Template).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(key in "\\PC*", source in "\\PC*", path in "\\PC*") {
            let _ = parsed(json!({&key: {"type": "tapisvolume", "source_id": source, "mount_path": path}}), Owner::Pod);
            let _ = parsed(json!({&key: {"type": "pvc", "source_id": source, "sub_path": path}}), Owner::Template);
        }
    }
}
