//! What a pod becomes when its template chain is merged into it.
//!
//! pod, T1 (the pod's `template`), T2 (what T1 builds on), and so on. "The templates" below are the chain merged into
//! one ([`super::merge`]: closer beats deeper). The ledger (`modified_fields`) names what the user set on the pod.
//!
//! | Field | The derived pod has |
//! |---|---|
//! | `image` | the pod's, if in the ledger and not empty; else the templates'; else the pod's |
//! | `description`, `command`, `arguments`, `compute_queue`, `time_to_stop_default`, `time_to_stop_instance`, `healthchecks` | the pod's, if in the ledger; else the templates', if they set it; else the pod's |
//! | `resources` | the same for each value, by the names `resources.<value>` (`resources` stands for all seven); a default that would put a request above its limit follows the side that a template sets |
//! | `networking` | in the ledger: the templates' entries, the pod's laid over them by name; else the templates' entries alone, if there are any (the default entry of a pod that names none is no wish of the user); else the pod's |
//! | `environment_variables` | the templates', the pod's laid over them by key if in the ledger; the pod's alone when its `_TAPIS_INTERNAL_USE_TEMPLATE_ENVS` is not `true` |
//! | `secret_map` | the templates', then `template_overrides.secret_map`, then the pod's if in the ledger, by key |
//! | `volume_mounts` | the templates', then `template_overrides.volume_mounts` key by key inside of each mount, then the pod's by path, whole; a removal removes; without the templates' when the pod's `_TAPIS_INTERNAL_USE_TEMPLATE_VOLUMES` is not `true` |
//! | `url` of each networking entry | computed for the pod |
//! | `template`, `template_overrides` | the pod's |
//!
//! Lists are replaced, never joined. Nothing that goes in is changed.

use std::collections::{BTreeMap, BTreeSet};

use super::{TemplateDefinition, TemplateOverrides, merge::merge_chain};
use crate::{
    Networking, PodDefinition, Resources, definition::DEFAULT_QUEUE, ids::entry_host, mount::Mounts,
    patch::Home, resources::ResourcesPatch,
};

/// Longest chain of templates.
pub const CHAIN_MAX: usize = 16;

/// The environment variable of a pod that turns the environment of its templates off.
pub const USE_TEMPLATE_ENVIRONMENT: &str = "_TAPIS_INTERNAL_USE_TEMPLATE_ENVS";
/// The environment variable of a pod that turns the mounts of its templates off.
pub const USE_TEMPLATE_MOUNTS: &str = "_TAPIS_INTERNAL_USE_TEMPLATE_VOLUMES";

/// Template definitions by pinned reference, as the database gives them for any number of pods at once.
pub type Tags = BTreeMap<String, TemplateDefinition>;

/// Why a pod cannot be derived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A tag of the chain does not exist any more.
    #[error("template \"{0}\" does not exist")]
    Missing(String),
    /// A tag appears twice.
    #[error("template \"{0}\" refers to itself (infinite loop)")]
    Loop(String),
    /// Longer than [`CHAIN_MAX`].
    #[error("more than {CHAIN_MAX} templates build on each other")]
    TooDeep,
}

/// A merged pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// The definition that a start uses; `template` stays the pod's reference.
    pub definition: PodDefinition,
    /// What the user should know, for example an override of a mount that no template has.
    pub warnings: Vec<String>,
}

/// The definitions that `reference` builds on, closest first; empty for an empty reference.
///
/// # Errors
/// [`ChainError`].
pub fn chain<'t>(reference: &str, tags: &'t Tags) -> Result<Vec<&'t TemplateDefinition>, ChainError> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(reference).filter(|reference| !reference.is_empty());
    while let Some(reference) = next {
        if !seen.insert(reference) {
            return Err(ChainError::Loop(reference.to_owned()));
        }
        if found.len() == CHAIN_MAX {
            return Err(ChainError::TooDeep);
        }
        let definition = tags.get(reference).ok_or_else(|| ChainError::Missing(reference.to_owned()))?;
        found.push(definition);
        next = definition.template.as_deref().filter(|reference| !reference.is_empty());
    }
    Ok(found)
}

/// Merges `chain` (closest first) into `pod`.
pub fn derive(
    pod: &PodDefinition,
    ledger: &BTreeSet<String>,
    chain: &[&TemplateDefinition],
    home: Home<'_>,
) -> Derived {
    let mut warnings = Vec::new();
    let overrides = pod.template_overrides.as_ref().filter(|overrides| !overrides.is_empty());
    if chain.is_empty() && overrides.is_none() {
        // The usual pod: nothing to merge, only what the answer must not show.
        let mut definition = pod.clone();
        definition.volume_mounts.retain(|_, mount| mount.is_some());
        address(&mut definition.networking, home);
        return Derived { definition, warnings };
    }
    let mut templates = merge_chain(chain);
    if !wanted(pod, USE_TEMPLATE_ENVIRONMENT) {
        templates.environment_variables.clear();
    }
    if !wanted(pod, USE_TEMPLATE_MOUNTS) {
        templates.volume_mounts.clear();
    }
    if let Some(overrides) = overrides {
        apply_overrides(overrides, &mut templates, &mut warnings);
    }
    let own = |field: &str| chain.is_empty() || ledger.contains(field);
    let queue = Some(templates.compute_queue).filter(|queue| queue != DEFAULT_QUEUE);
    let mut definition = PodDefinition {
        image: pick(own("image") && !pod.image.is_empty(), &pod.image, templates.image),
        template: pod.template.clone(),
        description: pick(own("description"), &pod.description, templates.description),
        command: pick(own("command"), &pod.command, templates.command.map(Some)),
        arguments: pick(own("arguments"), &pod.arguments, templates.arguments.map(Some)),
        environment_variables: lay_over(
            templates.environment_variables,
            own("environment_variables"),
            &pod.environment_variables,
        ),
        secret_map: lay_over(templates.secret_map, own("secret_map"), &pod.secret_map),
        volume_mounts: mounts(templates.volume_mounts, &pod.volume_mounts),
        template_overrides: pod.template_overrides.clone(),
        healthchecks: pick(own("healthchecks"), &pod.healthchecks, templates.healthchecks.map(Some)),
        networking: lay_entries(templates.networking, own("networking"), &pod.networking),
        resources: resources(&pod.resources, &own, &templates.resources),
        compute_queue: pick(own("compute_queue"), &pod.compute_queue, queue),
        time_to_stop_default: pick(
            own("time_to_stop_default"),
            &pod.time_to_stop_default,
            templates.time_to_stop_default,
        ),
        time_to_stop_instance: pick(
            own("time_to_stop_instance"),
            &pod.time_to_stop_instance,
            templates.time_to_stop_instance.map(Some),
        ),
    };
    address(&mut definition.networking, home);
    Derived { definition, warnings }
}

/// The networking entries of a pod alone, as [`derive()`] merges them: what routing follows. `own` is the pod's.
pub fn entries(
    own: &BTreeMap<String, Networking>,
    ledger: &BTreeSet<String>,
    chain: &[&TemplateDefinition],
    home: Home<'_>,
) -> BTreeMap<String, Networking> {
    let wins = chain.is_empty() || ledger.contains("networking");
    let mut entries = lay_entries(merge_chain(chain).networking, wins, own);
    address(&mut entries, home);
    entries
}

fn lay_entries(
    templates: BTreeMap<String, Networking>,
    wins: bool,
    own: &BTreeMap<String, Networking>,
) -> BTreeMap<String, Networking> {
    if templates.is_empty() { own.clone() } else { lay_over(templates, wins, own) }
}

fn wanted(pod: &PodDefinition, switch: &str) -> bool {
    pod.environment_variables.get(switch).is_none_or(|value| value.eq_ignore_ascii_case("true"))
}

fn pick<T: Clone>(own: bool, pod: &T, templates: Option<T>) -> T {
    match templates {
        Some(value) if !own => value,
        _ => pod.clone(),
    }
}

fn lay_over<T: Clone>(
    mut templates: BTreeMap<String, T>,
    own: bool,
    pod: &BTreeMap<String, T>,
) -> BTreeMap<String, T> {
    if own {
        templates.extend(pod.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    templates
}

/// The pod's own mounts are stored alone, never mixed with those of its templates, so they count without the ledger.
fn mounts(templates: Mounts, pod: &Mounts) -> Mounts {
    let mut merged = lay_over(templates, true, pod);
    merged.retain(|_, mount| mount.is_some());
    merged
}

fn resources(pod: &Resources, own: &impl Fn(&str) -> bool, templates: &ResourcesPatch) -> Resources {
    let all = own("resources");
    let set = |name: &str, value: i32, template: Option<i32>| {
        if all || own(name) { Some(value) } else { template }
    };
    // A default gives way to what a template asks for. What the user asks for is checked against it, as in a pod
    // without a template.
    let led = |name: &str, template: Option<i32>| template.filter(|_| !all && !own(name));
    let leading = ResourcesPatch {
        cpu_request: led("resources.cpu_request", templates.cpu_request),
        cpu_limit: led("resources.cpu_limit", templates.cpu_limit),
        mem_request: led("resources.mem_request", templates.mem_request),
        mem_limit: led("resources.mem_limit", templates.mem_limit),
        ephemeral_storage_request: led(
            "resources.ephemeral_storage_request",
            templates.ephemeral_storage_request,
        ),
        ephemeral_storage_limit: led("resources.ephemeral_storage_limit", templates.ephemeral_storage_limit),
        gpus: None,
    };
    let patch = ResourcesPatch {
        cpu_request: set("resources.cpu_request", pod.cpu_request, templates.cpu_request),
        cpu_limit: set("resources.cpu_limit", pod.cpu_limit, templates.cpu_limit),
        mem_request: set("resources.mem_request", pod.mem_request, templates.mem_request),
        mem_limit: set("resources.mem_limit", pod.mem_limit, templates.mem_limit),
        ephemeral_storage_request: set(
            "resources.ephemeral_storage_request",
            pod.ephemeral_storage_request,
            templates.ephemeral_storage_request,
        ),
        ephemeral_storage_limit: set(
            "resources.ephemeral_storage_limit",
            pod.ephemeral_storage_limit,
            templates.ephemeral_storage_limit,
        ),
        gpus: set("resources.gpus", pod.gpus, templates.gpus),
    };
    patch.filled_after(pod, &leading)
}

fn apply_overrides(
    overrides: &TemplateOverrides,
    templates: &mut TemplateDefinition,
    warnings: &mut Vec<String>,
) {
    for (path, replaced) in &overrides.volume_mounts {
        match templates.volume_mounts.get_mut(path) {
            Some(Some(mount)) => replaced.lay_over(mount),
            _ => warnings.push(format!(
                "template_overrides.volume_mounts: no template of this pod mounts \"{path}\", the override is ignored"
            )),
        }
    }
    for (key, value) in &overrides.secret_map {
        if templates.secret_map.insert(key.clone(), value.clone()).is_none() {
            warnings.push(format!(
                "template_overrides.secret_map: no template of this pod has \"{key}\", it is added"
            ));
        }
    }
}

/// Writes the host of every entry, for the templates' entries and after a template changed.
fn address(networking: &mut BTreeMap<String, Networking>, home: Home<'_>) {
    if home.tenant_host.is_empty() {
        return;
    }
    for (name, entry) in networking {
        entry.url = entry_host(home.pod_id, name, home.tenant_host);
    }
}

#[cfg(test)]
mod tests;
