use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{resources::ResourceLimits, template::arbitrary::templates};

const PLACE: &[&str] = &["body", "pod_definition"];

fn read(body: Value) -> Result<TemplateDefinition, Vec<String>> {
    let mut violations = Violations::default();
    let definition = TemplateDefinition::read(PLACE, body, &mut violations);
    violations.or(definition).map_err(|violations| violations.0)
}

fn policy() -> PodPolicy {
    PodPolicy {
        resources: ResourceLimits::default(),
        compute_queues: Vec::new(),
        images: Vec::new(),
        main_tenants: Vec::new(),
    }
}

fn check(definition: &TemplateDefinition, deeper: &[&TemplateDefinition]) -> Vec<String> {
    let mut violations = Violations::default();
    definition.check(PLACE, deeper, &policy(), &mut violations);
    violations.0
}

#[test]
fn nothing_is_mandatory_and_null_sets_nothing() {
    assert_eq!(read(json!({})).unwrap(), TemplateDefinition::default());
    let nulls = json!({
        "image": null, "template": null, "description": null, "command": null, "arguments": null,
        "environment_variables": null, "secret_map": null, "volume_mounts": null, "time_to_stop_default": null,
        "time_to_stop_instance": null, "networking": null, "resources": null, "compute_queue": null,
        "healthchecks": null
    });
    assert_eq!(read(nulls).unwrap(), TemplateDefinition::default());
    assert_eq!(
        read(json!({"image": "", "template": "", "compute_queue": ""})).unwrap(),
        TemplateDefinition::default()
    );
}

#[test]
fn the_example_of_a_database_is_read_whole() {
    let definition = read(json!({
        "image": "postgres:16",
        "networking": {"default": {"protocol": "postgres", "port": 5432}},
        "secret_map": {"PGPASS": "${:?Password of the superuser}", "PGDB": "${pods:default:app:?Database name}"},
        "environment_variables":
            {"POSTGRES_PASSWORD": "${pods:secrets:PGPASS}", "POSTGRES_DB": "${pods:secrets:PGDB}"},
        "volume_mounts": {
            "/var/lib/postgresql/data": {"type": "tapisvolume", "source_id": "${:?Volume for the data}"},
            "/old": null
        },
        "resources": {"cpu_request": "500"},
        "time_to_stop_default": -1
    }))
    .unwrap();
    assert_eq!(definition.networking["default"].port, 5432);
    assert_eq!(definition.volume_mounts["/old"], None);
    assert_eq!(definition.resources.cpu_request, Some(500));
    assert_eq!(check(&definition, &[]), Vec::<String>::new());
}

#[test]
fn a_chain_of_templates_has_the_bounds_of_one_pod() {
    let file = |path: &str| {
        let content = "x".repeat(600 * 1024);
        read(json!({"volume_mounts": {path: {"type": "ephemeral", "config_content": content}}})).unwrap()
    };
    assert_eq!(check(&file("/a"), &[&file("/a")]), Vec::<String>::new());
    let problems = check(&file("/a"), &[&file("/b")]);
    assert!(
        problems[0].starts_with("body, pod_definition, volume_mounts: Value error, the contents"),
        "{problems:?}"
    );
    let map = |prefix: &str| {
        let values: serde_json::Map<String, Value> =
            (0..150).map(|n| (format!("{prefix}{n}"), json!(""))).collect();
        read(json!({"secret_map": values})).unwrap()
    };
    assert_eq!(check(&map("a"), &[&map("a")]), Vec::<String>::new());
    let problems = check(&map("a"), &[&map("b")]);
    assert!(
        problems[0].starts_with("body, pod_definition, secret_map: Value error, secret_map can"),
        "{problems:?}"
    );
}

#[test]
fn every_rule_is_reported_with_its_place() {
    for (body, expected) in [
        (json!([]), ": Input should be a valid dictionary"),
        (json!({"pod_id": "x"}), ", pod_id: Extra inputs"),
        (json!({"status_requested": "ON"}), ", status_requested: Extra inputs"),
        (json!({"template_overrides": {}}), ", template_overrides: Extra inputs"),
        (json!({"stack_id": ""}), ", stack_id: Extra inputs"),
        (json!({"image": "UPPER"}), ", image: Value error"),
        (json!({"template": "a:b:c"}), ", template: Value error"),
        (json!({"description": "a".repeat(256)}), ", description: Value error"),
        (json!({"description": "ü"}), ", description: Value error"),
        (json!({"command": "ls"}), ", command: Input should be a valid list"),
        (json!({"environment_variables": {"A": 1}}), ", environment_variables, A: Input should be"),
        (json!({"environment_variables": {"1A": "x"}}), ", environment_variables"),
        (json!({"time_to_stop_default": 10}), ", time_to_stop_default: Value error"),
        (json!({"compute_queue": "Big"}), ", compute_queue: Value error"),
        (json!({"networking": {"default": {"port": 1}}}), ", networking, default, port: Value error"),
        (json!({"resources": {"cpus": 1}}), ", resources, cpus: Extra inputs"),
        (json!({"secret_map": {"K": "${secret:x}"}}), ", secret_map"),
        (json!({"secret_map": {"K": "${secret:u:x}"}}), ", secret_map"),
        (
            json!({"volume_mounts": {"/d": {"type": "tapisvolume", "source_id": "literal"}}}),
            ", volume_mounts, /d",
        ),
        (
            json!({"volume_mounts": {"/d": {"type": "tapissnapshot", "source_id": "literal"}}}),
            ", volume_mounts, /d",
        ),
        (json!({"volume_mounts": {"/d": {"type": "ephemeral"}}}), ", volume_mounts, /d"),
        (json!({"healthchecks": {"liveness": {}}}), ", healthchecks, liveness"),
    ] {
        let problems = read(body.clone()).unwrap_err();
        let expected = format!("body, pod_definition{expected}");
        assert!(problems.iter().any(|line| line.starts_with(&expected)), "{body}: {problems:?}");
    }
    assert!(read(json!({"volume_mounts": {"/d": {"type": "pvc", "source_id": "claim"}}})).is_ok());
}

#[test]
fn resources_are_checked_when_they_are_given() {
    let problems = |resources: Value| check(&read(json!({"resources": resources})).unwrap(), &[]);
    for good in [
        json!({}),
        json!({"cpu_request": 0, "mem_limit": 0}),
        json!({"cpu_request": 3000}),
        json!({"mem_limit": 256}),
        json!({"ephemeral_storage_request": 5000}),
        json!({"ephemeral_storage_limit": -1}),
        json!({"gpus": 0}),
    ] {
        assert_eq!(problems(good.clone()), Vec::<String>::new(), "{good}");
    }
    assert!(
        problems(json!({"ephemeral_storage_limit": 20_000}))[0]
            .contains("ephemeral_storage_limit out of bounds")
    );
    assert!(problems(json!({"cpu_request": 10}))[0].contains("cpu_request out of bounds"));
    assert!(problems(json!({"gpus": 5}))[0].contains("gpus out of bounds"));
    assert!(problems(json!({"cpu_request": 900, "cpu_limit": 800}))[0].contains("must not be larger"));
    assert!(problems(json!({"mem_limit": 0, "gpus": 9}))[0].starts_with("body, pod_definition, resources"));
}

#[test]
fn references_are_looked_up_in_the_whole_chain() {
    let using = read(json!({"environment_variables": {"P": "x${pods:secrets:PASS}"}})).unwrap();
    let having = read(json!({"secret_map": {"PASS": "${:?Password}"}})).unwrap();
    assert_eq!(check(&using, &[&TemplateDefinition::default(), &having]), Vec::<String>::new());
    let problems = check(&using, &[]);
    assert!(problems[0].contains("PASS") && problems[0].contains("secret_map"), "{problems:?}");
    let file = read(json!({"volume_mounts":
        {"/etc/app.conf": {"type": "ephemeral", "config_content": "p=${pods:secrets:FILE}"}}}))
    .unwrap();
    assert!(check(&file, &[&having])[0].contains("FILE"));
}

#[test]
fn answers_show_no_contents_unless_asked_and_no_removals() {
    let definition = read(json!({"volume_mounts": {
        "/etc/app.conf": {"type": "ephemeral", "config_content": "password=hunter2"}, "/gone": null}}))
    .unwrap();
    let shown = definition.shown(false);
    assert_eq!(shown.volume_mounts.keys().collect::<Vec<_>>(), ["/etc/app.conf"]);
    assert!(!format!("{shown:?}").contains("hunter2"));
    let content = &definition.shown(true).volume_mounts["/etc/app.conf"].clone().unwrap().config_content;
    assert_eq!(content.as_deref(), Some("password=hunter2"));
}

proptest! {
    #[test]
    fn what_is_stored_and_what_is_answered_are_read_again(definition in templates()) {
        let json = serde_json::to_value(&definition).unwrap();
        prop_assert_eq!(&serde_json::from_value::<TemplateDefinition>(json.clone()).unwrap(), &definition);
        prop_assert_eq!(read(json), Ok(definition));
    }
}
