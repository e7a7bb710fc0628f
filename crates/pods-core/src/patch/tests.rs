use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    PodDefinition, PodPolicy, Resources,
    image::ImageRule,
    mount::{MountKind, VolumeMount},
    resources::{Queue, ResourceLimits},
};

const PINNED: &str = "postgres:16@2026-07-01-10:00:00";

fn policy() -> PodPolicy {
    PodPolicy {
        resources: ResourceLimits::default(),
        compute_queues: [("default", 1), ("gpu", 1), ("cpu", 0)]
            .map(|(name, most_gpus)| Queue { name: name.to_owned(), most_gpus })
            .to_vec(),
        images: vec![ImageRule::new("busybox", vec!["*".into()]).unwrap()],
        main_tenants: vec!["dev".into()],
    }
}

/// Reads, applies and checks as the API does for a pod whose template adds nothing.
fn result(stored: &PodDefinition, patch: &PodPatch, actor: &str) -> Result<PodDefinition, Vec<String>> {
    let tenant = Tenant::new("dev", "dev");
    let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "docpod" };
    let defaults = ResourceLimits::default().defaults();
    let template = patch.template_reference().map(|_| PINNED);
    let pod = patch.apply(stored, Apply { home, defaults: &defaults, actor, template });
    let mut violations = Violations::default();
    check_stored(&pod, &mut violations);
    check_derived(&pod, home, &policy(), &mut violations);
    if patch.touches_image()
        && let Err(problem) = policy().check_image(&pod.image, &[], "dev")
    {
        violations.rule(&["image"], problem);
    }
    violations.or(pod).map_err(|v| v.0)
}

fn create(body: Value) -> Result<PodDefinition, Vec<String>> {
    let new = NewPod::read(body).map_err(|v| v.0)?;
    result(&PodDefinition::with_resources(Resources::default()), &new.patch, "ann")
}

fn update(stored: &PodDefinition, body: Value) -> Result<PodDefinition, Vec<String>> {
    result(stored, &PodPatch::read(body).map_err(|v| v.0)?, "bob")
}

fn stored(more: Value) -> PodDefinition {
    let mut body = json!({"pod_id": "docpod", "image": "busybox"});
    let Value::Object(more) = more else { panic!("an object") };
    body.as_object_mut().unwrap().extend(more);
    create(body).unwrap()
}

#[test]
fn a_small_body_becomes_a_full_definition() {
    let pod = stored(json!({}));
    assert_eq!(pod.networking["default"].url, "docpod.pods.dev.localhost");
    assert_eq!(pod.time_to_stop_default, 43_200);
    assert_eq!(pod.resources.cpu_request, 250);
    assert_eq!((pod.template.as_str(), pod.volume_mounts.len()), ("", 0));
}

#[test]
fn the_untouched_form_of_tapis_ui_is_accepted() {
    let pod = create(json!({
        "pod_id": "docpod", "image": "busybox", "time_to_stop_default": "3600",
        "environment_variables": {"Key1": "Value1"},
        "networking": {"default": {"port": "5000", "protocol": "http"}},
        "resources": {"cpu_request": "", "cpu_limit": "", "mem_request": "", "mem_limit": "", "gpus": ""}
    }))
    .unwrap();
    assert_eq!(pod.time_to_stop_default, 3600);
    assert_eq!(pod.resources, Resources::default());
}

#[test]
fn every_rule_of_a_create_is_reported() {
    let ephemeral = json!({"type": "ephemeral", "config_content": "x".repeat(500 * 1024)});
    let mut in_volume = json!({"type": "tapisvolume", "source_id": "myvol", "config_filename": "a"});
    in_volume["config_content"] = json!("x".repeat(600 * 1024));
    let cases = [
        (json!({}), "body, pod_id: Field required"),
        (json!({"pod_id": "X"}), "body, pod_id: Value error, pod_id must have 3 to 64"),
        (json!({}), "image: Value error, image is required, or a template"),
        (
            json!({"image": "evil/x"}),
            "image: Value error, image \"evil/x\" must be in allowlist: /pods/images",
        ),
        (json!({"image": "a:b:c"}), "not a valid reference"),
        (json!({"image": 7}), "body, image: Input should be a valid string"),
        (json!({"description": "ä"}), "description must be ASCII"),
        (json!({"description": "d".repeat(405)}), "description must be ASCII of at most 404 characters"),
        (json!({"status_requested": "on"}), "must be ON, OFF"),
        (json!({"status_requested": "RESTART"}), "can be ON or OFF"),
        (json!({"time_to_stop_instance": 0}), "at least 300"),
        (
            json!({"time_to_stop_default": 299}),
            "time_to_stop_default: Value error, time_to_stop_default must",
        ),
        (json!({"compute_queue": "x"}), "one of: default, gpu, cpu"),
        (json!({"compute_queue": "cpu", "resources": {"gpus": 1}}), "compute queue \"cpu\" has none"),
        (json!({"environment_variables": {"1A": "x"}}), "no name that"),
        (
            json!({"environment_variables": {"TAPIS_PODS_IMAGEPULLSECRET": "Alice_"}}),
            "environment_variables, TAPIS_PODS_IMAGEPULLSECRET: Value error",
        ),
        (
            json!({"environment_variables": {"A": 1}}),
            "body, environment_variables, A: Input should be a valid",
        ),
        (
            json!({"environment_variables": {"A": null}}),
            "body, environment_variables, A: Input should be a valid",
        ),
        (json!({"permissions": []}), "body, permissions: Extra inputs"),
        (json!({"stack_id": ""}), "body, stack_id: Extra inputs"),
        (json!({"depends_on": null}), "body, depends_on: Extra inputs"),
        (json!({"image": null}), "body, image: Input should be a valid string"),
        (json!({"template": null}), "body, template: Input should be a valid string"),
        (json!({"compute_queue": null}), "body, compute_queue: Input"),
        (json!({"time_to_stop_default": null}), "body, time_to_stop_default: Input"),
        (json!({"secret_map": {"a.b": "x"}}), "body, secret_map: Value error, secret_map key \"a.b\""),
        (json!({"secret_map": {"A": 1}}), "body, secret_map, A: Input should be a valid string"),
        (json!({"volume_mounts": {"data": {}}}), "body, volume_mounts, data"),
        (json!({"healthchecks": {"liveness": {}}}), "body, healthchecks, liveness: Value error"),
        (json!({"networking": {"default": {"port": 7}}}), "body, networking, default, port: Value error"),
        (json!({"resources": {"cpu_request": 3000}}), "must not be larger than resources.cpu_limit"),
        (json!({"resources": {"ephemeral_storage_limit": 20_000}}), "ephemeral_storage_limit out of bounds"),
        (json!({"volume_mounts": {"/a": ephemeral, "/b": ephemeral}}), "put large files into a volume"),
        (
            json!({"volume_mounts": {"/a": in_volume, "/b": in_volume}}),
            "volume_mounts: Value error, the contents",
        ),
        (
            json!({"template_overrides": {"volume_mounts": {
                "/a": {"config_content": "x".repeat(600 * 1024)}, "/b": {"config_content": "x".repeat(600 * 1024)}
            }}}),
            "body, template_overrides, volume_mounts: Value error, the contents",
        ),
    ];
    for (fields, expected) in cases {
        let mut body = json!({"pod_id": "docpod", "image": "busybox"});
        if expected.contains("pod_id") || expected.starts_with("image: Value error, image is required") {
            body = json!({"pod_id": "docpod"});
        }
        if expected == "body, pod_id: Field required" {
            body = json!({});
        }
        let Value::Object(fields) = fields else { panic!("an object") };
        body.as_object_mut().unwrap().extend(fields);
        let problems = create(body.clone()).unwrap_err();
        assert!(problems.iter().any(|line| line.contains(expected)), "{expected}: {problems:?}");
    }
    assert!(create(json!([1])).unwrap_err()[0].contains("expected a JSON object"));
}

#[test]
fn an_update_replaces_whole_fields_and_null_resets() {
    let before = stored(json!({
        "description": "old", "command": ["sleep", "5"],
        "environment_variables": {"A": "1", "B": "2"}, "networking": {"api": {"port": 80}},
        "resources": {"gpus": 1, "cpu_limit": 3000}, "secret_map": {"A": "x"},
        "healthchecks": {"readiness": {"tcp_socket_port": 80}},
        "volume_mounts": {"/data": {"type": "pvc", "source_id": "claim"}}, "time_to_stop_instance": 600
    }));
    let changed = update(&before, json!({"environment_variables": {"A": "3"}})).unwrap();
    assert_eq!(changed.environment_variables, BTreeMap::from([("A".into(), "3".into())]));
    assert_eq!(changed.description, "old");
    let changed = update(&before, json!({"resources": {"gpus": "0"}})).unwrap();
    assert_eq!(changed.resources, Resources::default(), "missing members fall back to the defaults");
    let body = json!({
        "description": null, "command": null, "networking": null, "environment_variables": null,
        "resources": null, "secret_map": null, "volume_mounts": null, "healthchecks": null,
        "template_overrides": null, "time_to_stop_instance": null, "arguments": null
    });
    let reset = update(&before, body).unwrap();
    assert_eq!(reset, stored(json!({})));
    assert_eq!(update(&before, json!({})).unwrap(), before);
    assert!(update(&before, json!({"pod_id": "other"})).unwrap_err()[0].contains("Extra inputs"));
}

#[test]
fn a_cleared_number_unsets_what_can_be_unset() {
    let cleared = json!({"time_to_stop_instance": "", "time_to_stop_default": ""});
    let before = stored(json!({"time_to_stop_instance": 900, "time_to_stop_default": 3600}));
    let after = update(&before, cleared.clone()).unwrap();
    assert_eq!((after.time_to_stop_instance, after.time_to_stop_default), (None, 3600));
    let mut with_template = after.clone();
    with_template.template = PINNED.to_owned();
    assert_eq!(update(&with_template, cleared.clone()).unwrap(), with_template);
    assert_eq!(ledger(&with_template, &["time_to_stop_instance"], cleared.clone()), names(&[]));
    assert_eq!(ledger(&with_template, &[], cleared.clone()), names(&[]), "an untouched form sets nothing");
    assert_eq!(stored(cleared).time_to_stop_instance, None);
}

#[test]
fn short_secrets_of_users_whose_names_do_not_fit_are_refused() {
    for body in [
        json!({"secret_map": {"A": "x${secret:db}"}}),
        json!({"template_overrides": {"secret_map": {"A": "${secret:db}"}}}),
    ] {
        let mut new = json!({"pod_id": "docpod", "image": "busybox"});
        new.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let new = NewPod::read(new).unwrap();
        for actor in ["http://idp/users/1", "a}", "ä"] {
            let fresh = PodDefinition::with_resources(Resources::default());
            let problems = result(&fresh, &new.patch, actor).unwrap_err();
            assert!(
                problems[0].contains("secret_map, A") && problems[0].contains("user name"),
                "{problems:?}"
            );
        }
    }
}

#[test]
fn a_template_is_stored_pinned_and_taken_away_by_an_empty_text() {
    let patch = PodPatch::read(json!({"template": "postgres"})).unwrap();
    assert!(patch.touches_image() && patch.template_reference() == Some("postgres"));
    let with = update(&stored(json!({})), json!({"template": "postgres"})).unwrap();
    assert_eq!(with.template, PINNED);
    assert_eq!(update(&with, json!({"description": "x"})).unwrap().template, PINNED);
    let none = PodPatch::read(json!({"template": ""})).unwrap();
    assert_eq!(none.template_reference(), None);
    assert_eq!(update(&with, json!({"template": ""})).unwrap().template, "");
    assert!(
        update(&with, json!({"template": "", "image": ""})).unwrap_err()[0].contains("image is required")
    );
}

#[test]
fn short_secrets_become_those_of_whoever_writes_them() {
    let pod = stored(json!({
        "secret_map": {"A": "${secret:db}"}, "template_overrides": {"secret_map": {"B": "x${secret:db}"}}
    }));
    assert_eq!(pod.secret_map["A"], "${secret:ann:db}");
    assert_eq!(pod.template_overrides.as_ref().unwrap().secret_map["B"], "x${secret:ann:db}");
    let after = update(&pod, json!({"description": "by bob"})).unwrap();
    assert_eq!(after.secret_map["A"], "${secret:ann:db}");
}

#[test]
fn required_values_are_demanded_only_where_a_template_waits_for_them() {
    let mut pod = stored(json!({"secret_map": {"PASS": "${:?Password of the superuser}"}}));
    assert!(update(&pod, json!({"description": "x"})).is_ok());
    pod.template = PINNED.to_owned();
    let mut mount = VolumeMount::new(MountKind::TapisVolume);
    mount.source_id = Some("${:?Volume for the data}".to_owned());
    pod.volume_mounts.insert("/data".to_owned(), Some(mount));
    let problems = update(&pod, json!({"description": "x"})).unwrap_err();
    assert!(
        problems[0].starts_with("secret_map, PASS: Value error, PASS is a required placeholder"),
        "{problems:?}"
    );
    assert!(problems[0].contains("Password of the superuser") && problems[1].contains("Volume for the data"));
    let given = json!({"secret_map": {"PASS": "x"}, "volume_mounts": null});
    assert!(update(&pod, given).is_ok());
}

#[test]
fn merged_mounts_are_checked_again() {
    let mut pod = stored(json!({}));
    pod.volume_mounts.insert("/data".to_owned(), Some(VolumeMount::new(MountKind::TapisVolume)));
    let problems = update(&pod, json!({"description": "x"})).unwrap_err();
    assert!(problems[0].contains("Invalid volume mount at '/data': source_id is required"), "{problems:?}");
}

#[test]
fn a_merged_secret_map_has_the_bounds_of_one() {
    let mut pod = stored(json!({}));
    pod.secret_map = (0..=200).map(|n| (format!("K{n}"), String::new())).collect();
    let problems = update(&pod, json!({"description": "x"})).unwrap_err();
    assert!(
        problems[0].starts_with("secret_map: Value error, secret_map can have at most 200"),
        "{problems:?}"
    );
    pod.secret_map = BTreeMap::from([("A".to_owned(), "x".repeat(256 * 1024))]);
    assert!(update(&pod, json!({"description": "x"})).is_err());
}

#[test]
fn a_source_in_an_override_belongs_to_whoever_named_it() {
    let overriding = |source: &str| json!({"template_overrides": {"volume_mounts": {"/data": {"source_id": source}, "/b": {"read_only": true}}}});
    let by = |pod: &PodDefinition, path: &str| {
        pod.template_overrides.as_ref().unwrap().volume_mounts[path].mounted_by.clone()
    };
    let pod = stored(overriding("annvol"));
    assert_eq!((by(&pod, "/data").as_deref(), by(&pod, "/b")), (Some("ann"), None));
    assert_eq!(update(&pod, overriding("annvol")).unwrap(), pod);
    let moved = update(&pod, overriding("bobvol")).unwrap();
    assert_eq!(by(&moved, "/data").as_deref(), Some("bob"));
}

#[test]
fn removals_are_remembered_up_to_a_bound() {
    let mut pod = stored(json!({}));
    pod.template = PINNED.to_owned();
    let removals = |at: usize| -> Value {
        let paths: serde_json::Map<String, Value> =
            (0..20).map(|n| (format!("/m{at}x{n}"), Value::Null)).collect();
        json!({"volume_mounts": paths})
    };
    for at in 0..5 {
        pod = update(&pod, removals(at)).unwrap();
    }
    assert_eq!(pod.volume_mounts.len(), 100);
    let problems = update(&pod, removals(5)).unwrap_err();
    assert!(problems[0].contains("at most 100 mounts and removed mounts"), "{problems:?}");
    assert!(problems[0].contains("null"), "{problems:?}");
    assert_eq!(update(&pod, removals(4)).unwrap(), pod, "what is remembered stays possible to say again");
    assert!(update(&pod, json!({"volume_mounts": null})).unwrap().volume_mounts.is_empty());
}

#[test]
fn mounts_are_replaced_and_removals_remembered() {
    let volume = |id: &str| json!({"type": "tapisvolume", "source_id": id});
    let mut pod = stored(json!({"volume_mounts": {"/a": volume("one"), "/gone": null}}));
    assert!(!pod.volume_mounts.contains_key("/gone"), "there is no template to remove it from");
    assert_eq!(pod.volume_mounts["/a"].as_ref().unwrap().mounted_by.as_deref(), Some("ann"));
    pod.template = PINNED.to_owned();
    let removed = update(&pod, json!({"volume_mounts": {"/gone": null, "/b": volume("two")}})).unwrap();
    let paths = |pod: &PodDefinition| -> Vec<(String, bool)> {
        pod.volume_mounts.iter().map(|(path, mount)| (path.clone(), mount.is_some())).collect()
    };
    assert_eq!(paths(&removed), [("/b".to_owned(), true), ("/gone".to_owned(), false)]);
    let unmentioned = update(&removed, json!({"volume_mounts": {"/c": volume("three")}})).unwrap();
    assert_eq!(paths(&unmentioned), [("/c".to_owned(), true), ("/gone".to_owned(), false)]);
    let again = update(&unmentioned, json!({"volume_mounts": {"/gone": volume("back")}})).unwrap();
    assert_eq!(paths(&again), [("/gone".to_owned(), true)]);
    assert!(update(&unmentioned, json!({"volume_mounts": null})).unwrap().volume_mounts.is_empty());
}

#[test]
fn attaching_volumes_adds_to_the_stored_mounts() {
    let volume = |id: &str| json!({"type": "tapisvolume", "source_id": id});
    let pod = stored(json!({"volume_mounts": {"/a": volume("one"), "/b": volume("two")}}));
    let patch =
        PodPatch::read_volumes(json!({"volume_mounts": {"/b": null, "/c": volume("three")}})).unwrap();
    assert!(patch.touches_definition() && patch.merge_mounts);
    let after = result(&pod, &patch, "bob").unwrap();
    assert_eq!(after.volume_mounts.keys().collect::<Vec<_>>(), ["/a", "/c"]);
    assert_eq!(after.volume_mounts["/a"].as_ref().unwrap().mounted_by.as_deref(), Some("ann"));
    assert_eq!(after.volume_mounts["/c"].as_ref().unwrap().mounted_by.as_deref(), Some("bob"));
    for (body, expected) in [
        (json!({}), "body, volume_mounts: Field required"),
        (json!({"volume_mounts": null}), "valid dictionary"),
        (json!({"volume_mounts": {}, "image": "x"}), "Extra inputs"),
        (json!([]), "expected a JSON object"),
    ] {
        let problems = PodPatch::read_volumes(body).unwrap_err().0;
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    }
}

#[test]
fn a_domain_stays_verified_as_long_as_it_is_the_same() {
    let mut pod = stored(json!({"networking": {"default": {"custom_domain": "shop.example.org"}}}));
    pod.networking.get_mut("default").unwrap().custom_domain_verified = true;
    let with = |domain: &str| json!({"networking": {"default": {"port": 80, "custom_domain": domain}}});
    assert!(update(&pod, with("Shop.example.org")).unwrap().networking["default"].custom_domain_verified);
    assert!(!update(&pod, with("other.example.org")).unwrap().networking["default"].custom_domain_verified);
    assert!(!update(&pod, with("")).unwrap().networking["default"].custom_domain_verified);
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_ledger_of_a_create_names_what_the_body_sets() {
    let patch = PodPatch::read(json!({
        "image": "busybox", "command": null, "resources": {"gpus": 1, "cpu_limit": null}, "secret_map": {},
        "template": "x", "volume_mounts": {}, "template_overrides": null, "healthchecks": null
    }))
    .unwrap();
    let expected = names(&[
        "command",
        "healthchecks",
        "image",
        "resources.gpus",
        "secret_map",
        "template",
        "template_overrides",
        "volume_mounts",
    ]);
    assert_eq!(patch.ledger_names(), expected);
}

fn ledger(before: &PodDefinition, ledger: &[&str], body: Value) -> BTreeSet<String> {
    let patch = PodPatch::read(body).unwrap();
    let after = update(before, serde_json::json!({})).unwrap();
    let after = result(&after, &patch, "bob").unwrap();
    patch.ledger_after(&names(ledger), before, &after, false)
}

#[test]
fn the_ledger_of_an_update_follows_what_changes() {
    let mut pod = stored(json!({"description": "old"}));
    assert_eq!(ledger(&pod, &["image"], json!({"description": "old"})), names(&["image"]));
    assert_eq!(ledger(&pod, &["image"], json!({"description": "new"})), names(&["description", "image"]));
    pod.template = PINNED.to_owned();
    assert_eq!(
        ledger(&pod, &[], json!({"description": "old"})),
        names(&["description"]),
        "the same value now beats the template's"
    );
    assert_eq!(ledger(&pod, &["description"], json!({"description": null})), names(&[]));
    assert_eq!(
        ledger(&pod, &[], json!({"command": null})),
        names(&["command"]),
        "null is a value of command"
    );
    let resources = json!({"resources": {"gpus": 1}});
    assert_eq!(
        ledger(&pod, &["resources.cpu_limit", "resources"], resources),
        names(&["resources.gpus"]),
        "a PUT of resources replaces all of it"
    );
    assert_eq!(ledger(&pod, &["resources.gpus"], json!({"resources": null})), names(&[]));
    assert_eq!(ledger(&pod, &["image", "template"], json!({"template": ""})), names(&["image"]));
    assert_eq!(ledger(&pod, &[], json!({"status_requested": "OFF"})), names(&[]));
    let patch = PodPatch::read(json!({"status_requested": "OFF"})).unwrap();
    assert_eq!(patch.ledger_after(&names(&[]), &pod, &pod, true), names(&["status_requested"]));
    assert!(!patch.touches_definition() && !patch.touches_image());
}

#[test]
fn an_empty_image_gives_the_field_back_to_the_template() {
    let patch = PodPatch::read(json!({"image": ""})).unwrap();
    let mut pod = stored(json!({}));
    pod.template = PINNED.to_owned();
    let after = PodDefinition { image: String::new(), ..pod.clone() };
    assert_eq!(patch.ledger_after(&names(&["image"]), &pod, &after, false), names(&[]));
}

proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(key in "[a-z_]{1,20}", text in "\\PC*", number in any::<i64>()) {
        let names = ["image", "template", "command", "secret_map", "volume_mounts", "template_overrides",
            "healthchecks", "networking", "resources", "status_requested", key.as_str()];
        for name in names {
            for value in [json!(text), json!(number), json!([text]), json!({&text: text}), json!({&text: {&text: number}})] {
                let _ = NewPod::read(json!({"pod_id": "docpod", name: value}));
            }
        }
    }
}
