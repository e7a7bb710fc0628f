use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    Tenant,
    input::Violations,
    patch::Home,
    template::{
        arbitrary::{ledgers, pods, templates},
        derive,
    },
};

fn with_origin<T>(
    pod: &PodDefinition,
    ledger: &BTreeSet<String>,
    chain: &[&TemplateDefinition],
    ask: impl FnOnce(&Origin<'_>) -> T,
) -> T {
    let tenant = Tenant::new("dev", "dev");
    let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "mypod" };
    let derived = derive(pod, ledger, chain, home).definition;
    ask(&Origin {
        pod_id: "mypod",
        status: Status::Available,
        status_requested: StatusRequested::On,
        definition: pod,
        ledger,
        chain,
        derived: &derived,
        defaults: &Resources::default(),
    })
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn template() -> TemplateDefinition {
    let mut violations = Violations::default();
    let body = json!({
        "image": "busybox", "time_to_stop_default": 43200, "environment_variables": {"A": "1"},
        "resources": {"cpu_limit": 4000},
        "volume_mounts": {"/etc/x": {"type": "ephemeral", "config_content": "secret text"}}
    });
    let definition = TemplateDefinition::read(&["body"], body, &mut violations);
    violations.or(definition).unwrap()
}

fn pod() -> PodDefinition {
    PodDefinition {
        template: "web:latest@2026-01-30-17:14:14".into(),
        description: "mine".into(),
        ..PodDefinition::with_resources(Resources::default())
    }
}

#[test]
fn overrides_are_the_values_of_the_ledger() {
    let ledger =
        names(&["pod_id", "template", "description", "resources.gpus", "resources.cpu_limit", "old_name"]);
    let answer = with_origin(&pod(), &ledger, &[&template()], overrides);
    assert_eq!(
        serde_json::to_value(answer).unwrap(),
        json!({
            "pod_id": "mypod", "template": "web:latest@2026-01-30-17:14:14", "status": "AVAILABLE",
            "modified_fields":
                ["description", "old_name", "pod_id", "resources.cpu_limit", "resources.gpus", "template"],
            "overrides": {
                "pod_id": "mypod", "template": "web:latest@2026-01-30-17:14:14", "description": "mine",
                "resources": {"cpu_limit": 2000, "gpus": 0}
            }
        })
    );
}

#[test]
fn provenance_tells_pod_template_and_default_apart() {
    let ledger = names(&["pod_id", "description", "resources.gpus"]);
    let answer = with_origin(&pod(), &ledger, &[&template()], provenance);
    let source = |field: &str| answer.fields[field].source;
    assert_eq!(source("description"), Source::Pod);
    assert_eq!(source("resources"), Source::Pod);
    assert_eq!(source("image"), Source::Template);
    assert_eq!(source("environment_variables"), Source::Template);
    assert_eq!(source("command"), Source::Default);
    let same = &answer.fields["time_to_stop_default"];
    assert_eq!(
        (same.source, same.template_provides),
        (Source::Default, true),
        "the template repeats the default"
    );
    let image = serde_json::to_value(&answer.fields["image"]).unwrap();
    assert_eq!(
        image,
        json!({"source": "template", "in_modified_fields": false, "template_provides": true, "pod_value": "",
            "template_value": "busybox", "derived_value": "busybox"})
    );
    assert_eq!(answer.fields["status_requested"].derived_value, json!("ON"));
    assert_eq!(answer.fields["resources"].derived_value["cpu_limit"], json!(4000));
    assert_eq!(answer.fields["command"].template_value, Value::Null);
    assert!(!serde_json::to_string(&answer).unwrap().contains("secret text"));
    assert!(answer.has_template);
}

#[test]
fn a_part_of_the_resources_is_enough_to_come_from_the_template() {
    let answer = with_origin(&pod(), &names(&[]), &[&template()], provenance);
    assert_eq!(answer.fields["resources"].source, Source::Template);
    let alone = PodDefinition { template: String::new(), ..pod() };
    let answer = with_origin(&alone, &names(&[]), &[], provenance);
    assert_eq!((answer.template, answer.has_template), (None, false));
    assert_eq!(answer.summary, Summary { pod: 0, template: 0, default: FIELDS.len() });
}

proptest! {
    #[test]
    fn every_field_has_exactly_one_source(pod in pods(), ledger in ledgers(), a in templates(), b in templates()) {
        let answer = with_origin(&pod, &ledger, &[&b, &a], provenance);
        prop_assert_eq!(answer.fields.len(), FIELDS.len());
        let summary = answer.summary;
        prop_assert_eq!(summary.pod + summary.template + summary.default, FIELDS.len());
        for (field, origin) in &answer.fields {
            prop_assert_eq!(origin.source == Source::Pod, origin.in_modified_fields, "{}", field);
            prop_assert!(origin.source != Source::Template || origin.template_provides, "{}", field);
            prop_assert_eq!(origin.template_value.is_null(), !origin.template_provides, "{}", field);
        }
    }
}
