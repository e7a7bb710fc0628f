//! One template definition made of several.
//!
//! | Field | Rule |
//! |---|---|
//! | `image`, `description`, `command`, `arguments`, `compute_queue`, `time_to_stop_default`, `time_to_stop_instance`, `healthchecks` | the whole value of the closest template that sets it |
//! | `resources` | the same for each of the seven values |
//! | `environment_variables`, `secret_map`, `volume_mounts`, `networking` | the same for each key; values are replaced whole, a removed mount stays removed |
//! | `template` | the deepest one's: what the whole chain builds on |
//!
//! "Closer" means nearer to the pod. Merging is associative, so a chain may be merged in any grouping.

use std::collections::BTreeMap;

use super::TemplateDefinition;
use crate::{definition::DEFAULT_QUEUE, resources::ResourcesPatch};

/// The whole chain (closest first) as one definition; empty for an empty chain.
pub fn merge_chain(chain: &[&TemplateDefinition]) -> TemplateDefinition {
    let mut merged = TemplateDefinition::default();
    for &definition in chain {
        build_on(&mut merged, definition);
    }
    merged
}

/// Fills what `closer` does not set from `deeper`.
fn build_on(closer: &mut TemplateDefinition, deeper: &TemplateDefinition) {
    fill(&mut closer.image, &deeper.image);
    fill(&mut closer.description, &deeper.description);
    fill(&mut closer.command, &deeper.command);
    fill(&mut closer.arguments, &deeper.arguments);
    fill(&mut closer.time_to_stop_default, &deeper.time_to_stop_default);
    fill(&mut closer.time_to_stop_instance, &deeper.time_to_stop_instance);
    fill(&mut closer.healthchecks, &deeper.healthchecks);
    if closer.compute_queue == DEFAULT_QUEUE {
        closer.compute_queue.clone_from(&deeper.compute_queue);
    }
    fill_resources(&mut closer.resources, &deeper.resources.set());
    fill_map(&mut closer.environment_variables, &deeper.environment_variables);
    fill_map(&mut closer.secret_map, &deeper.secret_map);
    fill_map(&mut closer.volume_mounts, &deeper.volume_mounts);
    fill_map(&mut closer.networking, &deeper.networking);
    closer.template.clone_from(&deeper.template);
}

fn fill<T: Clone>(closer: &mut Option<T>, deeper: &Option<T>) {
    if closer.is_none() {
        closer.clone_from(deeper);
    }
}

fn fill_map<T: Clone>(closer: &mut BTreeMap<String, T>, deeper: &BTreeMap<String, T>) {
    for (key, value) in deeper {
        if !closer.contains_key(key) {
            closer.insert(key.clone(), value.clone());
        }
    }
}

fn fill_resources(closer: &mut ResourcesPatch, deeper: &ResourcesPatch) {
    fill(&mut closer.cpu_request, &deeper.cpu_request);
    fill(&mut closer.cpu_limit, &deeper.cpu_limit);
    fill(&mut closer.mem_request, &deeper.mem_request);
    fill(&mut closer.mem_limit, &deeper.mem_limit);
    fill(&mut closer.ephemeral_storage_request, &deeper.ephemeral_storage_request);
    fill(&mut closer.ephemeral_storage_limit, &deeper.ephemeral_storage_limit);
    fill(&mut closer.gpus, &deeper.gpus);
}

/// What `closer` means when it builds on `deeper`.
#[cfg(test)]
pub(super) fn merge_templates(
    deeper: &TemplateDefinition,
    closer: &TemplateDefinition,
) -> TemplateDefinition {
    merge_chain(&[closer, deeper])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::template::arbitrary::templates;

    #[test]
    fn closer_beats_deeper_and_nothing_is_lost() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let deeper = TemplateDefinition {
            image: Some("deep".into()),
            environment_variables: map(&[("A", "deep"), ("B", "deep")]),
            resources: ResourcesPatch { cpu_limit: Some(3000), gpus: Some(1), ..ResourcesPatch::default() },
            compute_queue: "gpu".into(),
            ..TemplateDefinition::default()
        };
        let closer = TemplateDefinition {
            template: Some("deep:latest@2026-01-30-17:14:14".into()),
            environment_variables: map(&[("B", "close")]),
            resources: ResourcesPatch { cpu_limit: Some(0), gpus: Some(0), ..ResourcesPatch::default() },
            ..TemplateDefinition::default()
        };
        let merged = merge_templates(&deeper, &closer);
        assert_eq!(merged.image.as_deref(), Some("deep"));
        assert_eq!(merged.environment_variables, map(&[("A", "deep"), ("B", "close")]));
        assert_eq!((merged.resources.cpu_limit, merged.resources.gpus), (Some(3000), Some(0)));
        assert_eq!((merged.compute_queue.as_str(), merged.template), ("gpu", None));
    }

    proptest! {
        #[test]
        fn merging_is_associative(a in templates(), b in templates(), c in templates()) {
            let left = merge_templates(&merge_templates(&a, &b), &c);
            let right = merge_templates(&a, &merge_templates(&b, &c));
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(left, merge_chain(&[&c, &b, &a]));
        }

        #[test]
        fn the_empty_definition_changes_nothing(a in templates()) {
            let empty = TemplateDefinition::default();
            let alone = merge_chain(&[&a]);
            prop_assert_eq!(&merge_templates(&empty, &a), &alone);
            prop_assert_eq!(&merge_templates(&a, &empty), &alone);
        }
    }
}
