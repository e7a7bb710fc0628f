//! What a body makes of a stored definition.

use super::{Home, PodPatch};
use crate::{
    PodDefinition, Resources,
    definition::DEFAULT_QUEUE,
    ids::entry_host,
    input::Field,
    mount::{self, Mounts},
    networking, placeholder, time_to_stop,
};

/// What a request knows beside its body.
#[derive(Debug, Clone, Copy)]
pub struct Apply<'a> {
    /// Where the pod lives.
    pub home: Home<'a>,
    /// Resources of a pod that names none.
    pub defaults: &'a Resources,
    /// Whose request it is.
    pub actor: &'a str,
    /// The pinned form of [`PodPatch::template_reference`]; without one the stored template stays.
    pub template: Option<&'a str>,
}

impl PodPatch {
    /// The definition that results from applying the body over `stored` (a pod) or over the defaults (a create).
    /// Nothing is checked here, see [`super::check_derived`].
    pub fn apply(&self, stored: &PodDefinition, input: Apply<'_>) -> PodDefinition {
        let Apply { home, defaults, actor, template } = input;
        let template = match &self.template {
            Field::Set(reference) if reference.is_empty() => String::new(),
            _ => template.map_or_else(|| stored.template.clone(), str::to_owned),
        };
        let mut result = PodDefinition {
            image: merged(&self.image, &stored.image),
            description: merged(&self.description, &stored.description),
            command: optional(&self.command, &stored.command),
            arguments: optional(&self.arguments, &stored.arguments),
            environment_variables: merged(&self.environment_variables, &stored.environment_variables),
            secret_map: merged(&self.secret_map, &stored.secret_map),
            volume_mounts: self.mounts(&stored.volume_mounts, !template.is_empty()),
            template_overrides: optional(&self.template_overrides, &stored.template_overrides),
            healthchecks: optional(&self.healthchecks, &stored.healthchecks),
            networking: match &self.networking {
                Field::Absent => stored.networking.clone(),
                Field::Null => networking::default_entries(),
                Field::Set(entries) => entries.clone(),
            },
            resources: match &self.resources {
                Field::Absent => stored.resources.clone(),
                Field::Null => defaults.clone(),
                Field::Set(patch) => patch.over(defaults.clone()),
            },
            compute_queue: match &self.compute_queue {
                Field::Absent => stored.compute_queue.clone(),
                Field::Null => DEFAULT_QUEUE.to_owned(),
                Field::Set(queue) => queue.clone(),
            },
            time_to_stop_default: match self.time_to_stop_default {
                Field::Absent => stored.time_to_stop_default,
                Field::Null => time_to_stop::DEFAULT_SECONDS,
                Field::Set(seconds) => seconds,
            },
            time_to_stop_instance: match self.unset_time_to_stop {
                true => None,
                false => optional(&self.time_to_stop_instance, &stored.time_to_stop_instance),
            },
            template,
        };
        placeholder::expand_map(&mut result.secret_map, actor);
        if let Some(overrides) = &mut result.template_overrides {
            placeholder::expand_map(&mut overrides.secret_map, actor);
            overrides.set_mounted_by(stored.template_overrides.as_ref(), actor);
        }
        mount::set_mounted_by(&stored.volume_mounts, &mut result.volume_mounts, actor);
        for (name, entry) in &mut result.networking {
            entry.url = entry_host(home.pod_id, name, home.tenant_host);
            // Whose domain it is was found out before, and stays true when something else about the entry changes.
            entry.custom_domain_verified = !entry.custom_domain.is_empty()
                && stored.networking.values().any(|before| {
                    before.custom_domain_verified && before.custom_domain == entry.custom_domain
                });
        }
        result
    }

    /// The user's mounts and the removals that are remembered. A removal outlives a body that does not mention its
    /// path, and ends when the path is set again or the field is reset. Without a template there is nothing to
    /// remove, and nothing new is remembered.
    fn mounts(&self, stored: &Mounts, has_template: bool) -> Mounts {
        let given = match &self.volume_mounts {
            Field::Absent => return stored.clone(),
            Field::Null => return Mounts::new(),
            Field::Set(given) => given,
        };
        let mut mounts: Mounts = stored
            .iter()
            .filter(|(_, mount)| mount.is_none() || self.merge_mounts)
            .map(|(path, mount)| (path.clone(), mount.clone()))
            .collect();
        for (path, mount) in given {
            let remembered = has_template || matches!(stored.get(path), Some(None));
            match mount {
                None if !remembered => mounts.remove(path),
                mount => mounts.insert(path.clone(), mount.clone()),
            };
        }
        mounts
    }
}

/// `null` resets the field to its empty value.
fn merged<T: Clone + Default>(field: &Field<T>, stored: &T) -> T {
    match field {
        Field::Absent => stored.clone(),
        Field::Null => T::default(),
        Field::Set(value) => value.clone(),
    }
}

/// `null` is a value of the field.
fn optional<T: Clone>(field: &Field<T>, stored: &Option<T>) -> Option<T> {
    match field {
        Field::Absent => stored.clone(),
        Field::Null => None,
        Field::Set(value) => Some(value.clone()),
    }
}
