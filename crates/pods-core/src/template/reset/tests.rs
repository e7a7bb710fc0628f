use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    Tenant,
    input::Violations,
    template::arbitrary::{ledgers, pods, templates},
};

fn home(tenant: &Tenant) -> Home<'_> {
    Home { tenant, tenant_host: "dev.localhost", pod_id: "mypod" }
}

fn reset(
    pod: &PodDefinition,
    ledger: &BTreeSet<String>,
    fields: &[&str],
    chain: &[&TemplateDefinition],
) -> Result<(PodDefinition, BTreeSet<String>), ResetError> {
    let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    let tenant = Tenant::new("dev", "dev");
    reset_fields(pod, ledger, &fields, chain, home(&tenant), &Resources::default())
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn template() -> TemplateDefinition {
    let mut violations = Violations::default();
    let body = json!({"image": "busybox", "description": "theirs", "resources": {"cpu_limit": 4000},
        "networking": {"web": {"port": 8080}}});
    let definition = TemplateDefinition::read(&["body"], body, &mut violations);
    violations.or(definition).unwrap()
}

fn pod() -> PodDefinition {
    let mut pod =
        PodDefinition::with_resources(Resources { cpu_limit: 1000, gpus: 1, ..Resources::default() });
    pod.description = "mine".into();
    pod.volume_mounts.insert("/gone".into(), None);
    pod
}

#[test]
fn a_reset_field_has_the_value_of_the_template_and_leaves_the_ledger() {
    let ledger = names(&["pod_id", "description", "resources.cpu_limit", "resources.gpus", "networking"]);
    let template = template();
    let (pod, ledger) =
        reset(&pod(), &ledger, &["description", "resources", "networking", "volume_mounts"], &[&template])
            .unwrap();
    assert_eq!(ledger, names(&["pod_id"]));
    assert_eq!(pod.description, "theirs");
    assert_eq!((pod.resources.cpu_limit, pod.resources.gpus), (4000, 0), "of the template, and of nobody");
    assert_eq!(pod.networking["web"].url, "mypod-web.pods.dev.localhost");
    assert!(pod.volume_mounts.is_empty(), "a removal ends with a reset");
}

#[test]
fn what_was_never_set_stays_as_it_is() {
    let (before, ledger) = (pod(), names(&["pod_id"]));
    let template = template();
    assert_eq!(reset(&before, &ledger, &["description", "command"], &[&template]).unwrap(), (before, ledger));
}

#[test]
fn mistakes_are_named() {
    let template = template();
    let problem = |fields: &[&str], chain: &[&TemplateDefinition]| {
        reset(&pod(), &names(&[]), fields, chain).unwrap_err().to_string()
    };
    assert!(problem(&["image"], &[]).contains("no template"));
    assert!(problem(&[], &[&template]).contains("at least one of: volume_mounts"));
    assert!(problem(&["pod_id"], &[&template]).contains("\"pod_id\" cannot be reset"));
    assert!(problem(&["resources.gpus"], &[&template]).contains("cannot be reset"));
}

#[test]
fn nothing_of_the_old_template_stays_when_the_template_changes() {
    let template = template();
    let ledger = names(&["description", "resources.cpu_limit", "resources.gpus", "image"]);
    let (mut pod, ledger) = reset(&pod(), &ledger, &["description", "resources"], &[&template]).unwrap();
    pod.image = "own".into();
    unset_to_defaults(&mut pod, &ledger, &Resources::default());
    assert_eq!((pod.description.as_str(), pod.image.as_str()), ("", "own"));
    assert_eq!(pod.resources, Resources::default());
}

proptest! {
    #[test]
    fn a_reset_pod_derives_as_if_the_field_had_never_been_set(
        mut pod in pods(), ledger in ledgers(), a in templates(), b in templates(),
        fields in prop::sample::subsequence(&RESETTABLE[..], 1..RESETTABLE.len()),
    ) {
        let chain = [&b, &a];
        unset_to_defaults(&mut pod, &ledger, &Resources::default());
        let (stored, left) = reset(&pod, &ledger, &fields, &chain).unwrap();
        prop_assert!(left.is_subset(&ledger));
        let tenant = Tenant::new("dev", "dev");
        let derived = derive(&stored, &left, &chain, home(&tenant)).definition;
        // Storing derived values and resetting again both change nothing.
        prop_assert_eq!(&reset(&stored, &left, &fields, &chain).unwrap(), &(stored.clone(), left.clone()));
        let mut never_set = stored;
        unset_to_defaults(&mut never_set, &left, &Resources::default());
        prop_assert_eq!(derive(&never_set, &left, &chain, home(&tenant)).definition, derived);
    }
}
