//! What a definition must satisfy after its templates were merged into it.

use std::collections::BTreeMap;

use super::Home;
use crate::{
    PodDefinition, PodPolicy,
    ids::name_problems,
    image::{self, ImageReference, ImageRule},
    input::Violations,
    limits::{
        COMMAND_BYTES_MAX, CONFIGS_BYTES_MAX, DESCRIPTION_MAX, ENVIRONMENT_BYTES_MAX,
        ENVIRONMENT_ENTRIES_MAX, MOUNTS_MAX, MOUNTS_STORED_MAX, NETWORKING_ENTRIES_MAX, STARTED_BYTES_MAX,
    },
    mount::{self, MountKind, Mounts},
    placeholder, pull_secret, time_to_stop,
};

/// Checks everything but the list of allowed images (see [`check_image`]). Networking entries, mounts, probes and
/// placeholders were checked one by one when they were read; here is what concerns the whole.
pub fn check_derived(derived: &PodDefinition, home: Home<'_>, policy: &PodPolicy, v: &mut Violations) {
    if derived.image.is_empty() {
        v.rule(&["image"], "image is required, or a template that names one");
    }
    if !derived.description.is_ascii() || derived.description.len() > DESCRIPTION_MAX {
        v.rule(
            &["description"],
            format!("description must be ASCII of at most {DESCRIPTION_MAX} characters"),
        );
    }
    for (name, list) in [("command", &derived.command), ("arguments", &derived.arguments)] {
        check_command(&[name], list.as_deref().unwrap_or_default(), v);
    }
    check_environment(&["environment_variables"], &derived.environment_variables, v);
    for (field, seconds) in [
        ("time_to_stop_default", Some(derived.time_to_stop_default)),
        ("time_to_stop_instance", derived.time_to_stop_instance),
    ] {
        if seconds.is_some_and(|seconds| !time_to_stop::valid(seconds)) {
            v.rule(&[field], format!("{field} must be -1 (unlimited) or at least 300 seconds"));
        }
    }
    policy.resources.check(&derived.resources, &["resources"], v);
    check_queue(derived, policy, v);
    for problem in name_problems(home.tenant, home.pod_id, derived.networking.keys().map(String::as_str)) {
        v.rule(&["pod_id"], problem);
    }
    if derived.networking.len() > NETWORKING_ENTRIES_MAX {
        v.rule(
            &["networking"],
            format!(
                "networking must have at most {NETWORKING_ENTRIES_MAX} entries, those of templates included"
            ),
        );
    }
    check_mounts(derived, v);
    check_sizes(&[], &derived.secret_map, &derived.volume_mounts, v);
    check_open_values(derived, v);
}

/// Checks what a merge hides and the row of a pod still holds: removed mounts, and secrets that name no user.
pub fn check_stored(stored: &PodDefinition, v: &mut Violations) {
    if stored.volume_mounts.len() > MOUNTS_STORED_MAX {
        v.rule(
            &["volume_mounts"],
            format!(
                "at most {MOUNTS_STORED_MAX} mounts and removed mounts are remembered; send null for volume_mounts to \
                 forget them, then what is to be mounted or removed"
            ),
        );
    }
    let overrides = stored.template_overrides.as_ref().map(|overrides| &overrides.secret_map);
    for (key, _) in std::iter::once(&stored.secret_map)
        .chain(overrides)
        .flatten()
        .filter(|(_, value)| placeholder::has_short_secret(value))
    {
        v.rule(
            &["secret_map", key],
            "${secret:name} means a secret of your own, and your user name has characters that cannot stand in \
             ${secret:user:name} (letters, digits, _ . @ - can); give a value instead",
        );
    }
}

/// Checks what several definitions can only exceed together: the size of the secret map and of all files. Each row
/// and each start holds them.
pub(crate) fn check_sizes(
    place: &[&str],
    secret_map: &BTreeMap<String, String>,
    mounts: &Mounts,
    v: &mut Violations,
) {
    placeholder::check_size(&[place, &["secret_map"]].concat(), secret_map, v);
    let contents = mounts.values().flatten().filter_map(|mount| mount.config_content.as_deref());
    check_contents(&[place, &["volume_mounts"]].concat(), contents, v);
}

/// Checks the size of all configuration files together.
pub(crate) fn check_contents<'c>(
    place: &[&str],
    contents: impl Iterator<Item = &'c str>,
    v: &mut Violations,
) {
    let bytes: usize = contents.map(str::len).sum();
    if bytes > CONFIGS_BYTES_MAX {
        v.rule(
            place,
            format!(
                "the contents of all configuration files have {bytes} bytes together, those of templates included; at \
                 most {CONFIGS_BYTES_MAX} are possible, put large files into a volume yourself"
            ),
        );
    }
}

/// The queue exists and gives the GPUs. A queue that changes later is noticed at the start.
fn check_queue(derived: &PodDefinition, policy: &PodPolicy, v: &mut Violations) {
    let Some(queue) = policy.compute_queues.iter().find(|queue| queue.name == derived.compute_queue) else {
        let known: Vec<&str> = policy.compute_queues.iter().map(|queue| queue.name.as_str()).collect();
        let known = known.join(", ");
        v.rule(&["compute_queue"], format!("compute_queue must be one of: {known}"));
        return;
    };
    if let Err(problem) = queue.check_gpus(derived.resources.gpus) {
        v.rule(&["resources", "gpus"], problem.to_string());
    }
}

/// What overrides and several templates together can still break.
fn check_mounts(derived: &PodDefinition, v: &mut Violations) {
    let mounts = || derived.volume_mounts.iter().filter_map(|(path, mount)| Some((path, mount.as_ref()?)));
    if mounts().count() > MOUNTS_MAX {
        v.rule(
            &["volume_mounts"],
            format!("at most {MOUNTS_MAX} mounts are possible, those of templates included"),
        );
    }
    for (path, mount) in mounts() {
        if let Err(problem) = mount::check(path, mount) {
            v.rule(&["volume_mounts", path], format!("Invalid volume mount at '{path}': {problem}"));
        }
    }
    let files = mounts().filter(|(_, mount)| mount.kind == MountKind::Ephemeral);
    let content: usize =
        files.map(|(_, mount)| mount.config_content.as_deref().unwrap_or_default().len()).sum();
    let environment = environment_bytes(&derived.environment_variables);
    if content + environment > STARTED_BYTES_MAX {
        v.rule(
            &["volume_mounts"],
            format!(
                "environment variables and ephemeral files have {} bytes together, at most {STARTED_BYTES_MAX} are \
                 possible; put large files into a volume",
                content + environment
            ),
        );
    }
}

/// What a template asks for has to be there before the pod can run. A pod without a template may keep values open:
/// nobody waits for them but its own user.
fn check_open_values(derived: &PodDefinition, v: &mut Violations) {
    if derived.template.is_empty() {
        return;
    }
    for open in placeholder::placeholders(&derived.secret_map).required {
        v.rule(
            &["secret_map", &open.key],
            format!(
                "{} is a required placeholder of the template and has no value: {}; give it in secret_map or \
                 template_overrides.secret_map",
                open.key, open.description
            ),
        );
    }
    for open in mount::placeholders(&derived.volume_mounts) {
        v.rule(
            &["volume_mounts", &open.mount_path],
            format!(
                "source_id is a required placeholder of the template and names nothing: {}; give it in \
                 template_overrides.volume_mounts",
                open.description
            ),
        );
    }
}

/// Whether an image may be run: the list of allowed images, whose rows the caller loads.
///
/// # Errors
/// A sentence for the user: the reference is malformed, or not allowed.
pub fn check_image<'r>(
    image: &str,
    rules: impl IntoIterator<Item = &'r ImageRule>,
    tenant_id: &str,
    main_tenants: &[String],
) -> Result<(), String> {
    let reference = ImageReference::parse(image).map_err(|error| error.to_string())?;
    match image::allowed(&reference, rules, tenant_id, main_tenants) {
        true => Ok(()),
        false => Err(format!(
            "image \"{image}\" must be in allowlist: /pods/images lists the images that your tenant may use, an \
             administrator of the service can add it"
        )),
    }
}

/// Checks the length of a command line.
pub fn check_command(place: &[&str], list: &[String], v: &mut Violations) {
    let bytes: usize = list.iter().map(|item| item.len() + 1).sum();
    if bytes > COMMAND_BYTES_MAX {
        let name = place.last().copied().unwrap_or_default();
        v.rule(place, format!("{name} has {bytes} bytes, at most {COMMAND_BYTES_MAX} are possible"));
    }
}

/// Checks names and size of environment variables.
pub fn check_environment(place: &[&str], environment: &BTreeMap<String, String>, v: &mut Violations) {
    let name_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let legal = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.chars().all(name_character)
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name != "."
            && !name.starts_with("..")
    };
    if let Some(bad) = environment.keys().find(|name| !legal(name)) {
        let bad: String = bad.chars().take(60).collect();
        let rule = "names must be letters, digits, _ . - and not start with a digit";
        v.rule(place, format!("\"{bad}\" is no name that Kubernetes accepts: {rule}"));
    }
    if let Err(problem) = pull_secret::of(environment) {
        v.rule(&[place, &[pull_secret::VARIABLE]].concat(), problem.to_string());
    }
    if environment.len() > ENVIRONMENT_ENTRIES_MAX || environment_bytes(environment) > ENVIRONMENT_BYTES_MAX {
        v.rule(
            place,
            format!(
                "at most {ENVIRONMENT_ENTRIES_MAX} variables of {ENVIRONMENT_BYTES_MAX} bytes are possible"
            ),
        );
    }
}

fn environment_bytes(environment: &BTreeMap<String, String>) -> usize {
    environment.iter().map(|(name, value)| name.len() + value.len() + 2).sum()
}
