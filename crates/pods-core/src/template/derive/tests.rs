use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    Tenant, VolumeMount,
    input::Violations,
    mount::MountKind,
    template::{
        arbitrary::{ledgers, pods, templates},
        merge_templates,
    },
};

fn template(body: serde_json::Value) -> TemplateDefinition {
    let mut violations = Violations::default();
    let definition = TemplateDefinition::read(&["body"], body, &mut violations);
    violations.or(definition).unwrap()
}

fn ledger(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn empty_pod() -> PodDefinition {
    PodDefinition::with_resources(Resources::default())
}

fn merged(pod: &PodDefinition, names: &[&str], chain: &[&TemplateDefinition]) -> Derived {
    let tenant = Tenant::new("dev", "dev");
    let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "mypod" };
    derive(pod, &ledger(names), chain, home)
}

fn pairs<T: Clone>(map: &BTreeMap<String, T>) -> Vec<(&str, T)> {
    map.iter().map(|(key, value)| (key.as_str(), value.clone())).collect()
}

fn volume(source: &str) -> VolumeMount {
    VolumeMount { source_id: Some(source.to_owned()), ..VolumeMount::new(MountKind::TapisVolume) }
}

#[test]
fn a_pod_without_template_stays_as_it_is() {
    let mut pod = PodDefinition { image: "busybox".into(), ..empty_pod() };
    address(&mut pod.networking, home_of(&Tenant::new("dev", "dev")));
    assert_eq!(merged(&pod, &["image"], &[]), Derived { definition: pod, warnings: Vec::new() });
}

fn home_of(tenant: &Tenant) -> Home<'_> {
    Home { tenant, tenant_host: "dev.localhost", pod_id: "mypod" }
}

#[test]
fn each_field_comes_from_the_closest_template_that_sets_it() {
    let first = template(json!({"description": "one", "environment_variables": {"LEVEL": "1"},
        "compute_queue": "gpu"}));
    let second = template(json!({"image": "busybox:2", "arguments": ["two"], "description": "two",
        "environment_variables": {"LEVEL": "2", "ONLY": "2"}}));
    let third = template(json!({"image": "busybox:3", "command": ["three"], "arguments": ["three"],
        "environment_variables": {"LEVEL": "3"}, "compute_queue": "big"}));
    let pod = merged(&empty_pod(), &[], &[&first, &second, &third]).definition;
    assert_eq!(pod.image, "busybox:2");
    assert_eq!(pod.description, "one");
    assert_eq!(pod.command, Some(vec!["three".to_owned()]));
    assert_eq!(pod.arguments, Some(vec!["two".to_owned()]));
    assert_eq!(pairs(&pod.environment_variables), [("LEVEL", "1".to_owned()), ("ONLY", "2".to_owned())]);
    assert_eq!(pod.compute_queue, "gpu");
}

#[test]
fn the_ledger_beats_the_chain_and_a_template_beats_the_default() {
    let template = template(json!({"time_to_stop_default": -1, "image": "busybox", "command": ["run"]}));
    assert_eq!(merged(&empty_pod(), &[], &[&template]).definition.time_to_stop_default, -1);
    let pod = PodDefinition { time_to_stop_default: 7200, ..empty_pod() };
    let derived = merged(&pod, &["time_to_stop_default", "command"], &[&template]).definition;
    assert_eq!((derived.time_to_stop_default, derived.command), (7200, None));
    // `image: ""` falls back to the template's, in the ledger or not.
    assert_eq!(merged(&empty_pod(), &["image"], &[&template]).definition.image, "busybox");
}

#[test]
fn networking_is_merged_by_entry_and_addressed_for_the_pod() {
    let template = template(json!({"networking": {"default": {"port": 8080}, "api": {"port": 3000}}}));
    let derived = merged(&empty_pod(), &[], &[&template]).definition;
    let entries: Vec<_> =
        pairs(&derived.networking).into_iter().map(|(name, e)| (name, e.port, e.url)).collect();
    assert_eq!(
        entries,
        [
            ("api", 3000, "mypod-api.pods.dev.localhost".to_owned()),
            ("default", 8080, "mypod.pods.dev.localhost".to_owned()),
        ]
    );
    let mut pod = empty_pod();
    pod.networking.insert("default".into(), Networking { port: 9000, ..Networking::default() });
    let derived = merged(&pod, &["networking"], &[&template]).definition;
    assert_eq!((derived.networking["default"].port, derived.networking["api"].port), (9000, 3000));
}

#[test]
fn the_default_entry_of_a_pod_is_no_wish_beside_those_of_a_template() {
    let template = template(json!({"networking": {"bolt": {"protocol": "tcp", "port": 7687}}}));
    let names = |ledger: &[&str]| {
        let derived = merged(&empty_pod(), ledger, &[&template]).definition;
        derived.networking.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["bolt"]);
    assert_eq!(names(&["networking"]), ["bolt", "default"]);
    let silent = TemplateDefinition::default();
    assert_eq!(
        merged(&empty_pod(), &[], &[&silent]).definition.networking.into_keys().next().unwrap(),
        "default"
    );
}

#[test]
fn resources_are_merged_by_value() {
    let close = template(json!({"resources": {"cpu_request": 1000, "mem_limit": 0}}));
    let deep =
        template(json!({"resources": {"cpu_request": 500, "cpu_limit": 4000, "mem_limit": 4096, "gpus": 1}}));
    let mut pod = empty_pod();
    pod.resources.gpus = 0;
    let derived = merged(&pod, &["resources.gpus"], &[&close, &deep]).definition.resources;
    assert_eq!(
        (derived.cpu_request, derived.cpu_limit, derived.mem_limit, derived.gpus),
        (1000, 4000, 4096, 0)
    );
    // Pods of older versions have the whole object in their ledger.
    assert_eq!(merged(&pod, &["resources"], &[&close, &deep]).definition.resources, pod.resources);
}

#[test]
fn a_default_follows_the_side_that_is_set() {
    let large = template(json!({"resources": {"cpu_request": 3000, "mem_limit": 5000, "mem_request": 4000}}));
    let derived = merged(&empty_pod(), &[], &[&large]).definition.resources;
    assert_eq!((derived.cpu_request, derived.cpu_limit), (3000, 3000));
    assert_eq!((derived.mem_request, derived.mem_limit), (4000, 5000));
    let mut pod = empty_pod();
    pod.resources.cpu_limit = 1000;
    let both = merged(&pod, &["resources.cpu_limit"], &[&large]).definition.resources;
    assert_eq!((both.cpu_request, both.cpu_limit), (3000, 1000), "what both sides set is left to the checks");
    // What the user asks for is checked against the default, as in a pod without a template.
    let mut own = empty_pod();
    own.resources.cpu_request = 3000;
    let kept = merged(&own, &["resources.cpu_request"], &[&template(json!({}))]).definition.resources;
    assert_eq!((kept.cpu_request, kept.cpu_limit), (3000, own.resources.cpu_limit));
    let storage = template(json!({"resources": {"ephemeral_storage_request": 5000}}));
    let derived = merged(&empty_pod(), &[], &[&storage]).definition.resources;
    assert_eq!((derived.ephemeral_storage_request, derived.ephemeral_storage_limit), (5000, -1));
}

#[test]
fn mounts_are_merged_by_path_and_a_removal_removes() {
    let mount =
        |description: &str| json!({"type": "tapisvolume", "source_id": format!("${{:?{description}}}")});
    let close = template(json!({"volume_mounts": {"/a": mount("close"), "/b": null}}));
    let deep =
        template(json!({"volume_mounts": {"/a": mount("deep"), "/b": mount("deep"), "/c": mount("deep"),
        "/d": mount("deep")}}));
    let mut pod = empty_pod();
    pod.volume_mounts.insert("/c".into(), None);
    pod.volume_mounts.insert("/d".into(), Some(volume("mine")));
    let derived = merged(&pod, &[], &[&close, &deep]).definition;
    let sources: Vec<_> = derived
        .volume_mounts
        .iter()
        .map(|(path, m)| (path.as_str(), m.clone().unwrap().source_id.unwrap()))
        .collect();
    assert_eq!(sources, [("/a", "${:?close}".to_owned()), ("/d", "mine".to_owned())]);
}

#[test]
fn overrides_replace_keys_between_the_templates_and_the_pod() {
    let templates = template(json!({
        "volume_mounts": {
            "/data": {"type": "tapisvolume", "source_id": "${:?Data}", "sub_path": "db", "read_only": true},
            "/mine": {"type": "tapisvolume", "source_id": "${:?Other}"}
        },
        "secret_map": {"PASS": "${:?Password}", "KEEP": "x"}
    }));
    let before = templates.clone();
    let mut violations = Violations::default();
    let body = json!({
        "volume_mounts": {"/data": {"source_id": "my-custom-volume"}, "/mine": {"source_id": "overridden"},
            "/nowhere": {"source_id": "lost"}},
        "secret_map": {"PASS": "${secret:ann:db}", "NEW": "1"}
    });
    let overrides = TemplateOverrides::read(&["body"], body, &mut violations);
    let mut pod =
        PodDefinition { template_overrides: violations.or(Some(overrides)).unwrap(), ..empty_pod() };
    pod.volume_mounts.insert("/mine".into(), Some(volume("own")));
    let Derived { definition, warnings } = merged(&pod, &[], &[&templates]);
    let data = definition.volume_mounts["/data"].clone().unwrap();
    assert_eq!(data, VolumeMount { sub_path: "db".into(), read_only: true, ..volume("my-custom-volume") });
    assert_eq!(definition.volume_mounts["/mine"].clone().unwrap(), volume("own"));
    assert!(!definition.volume_mounts.contains_key("/nowhere"));
    assert_eq!(
        pairs(&definition.secret_map),
        [("KEEP", "x".to_owned()), ("NEW", "1".to_owned()), ("PASS", "${secret:ann:db}".to_owned())]
    );
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("\"/nowhere\"") && warnings[1].contains("\"NEW\""));
    assert_eq!(templates, before);
    pod.secret_map.insert("PASS".into(), "own".into());
    assert_eq!(merged(&pod, &["secret_map"], &[&templates]).definition.secret_map["PASS"], "own");
}

#[test]
fn overrides_of_a_pod_without_template_meet_nothing() {
    let overrides = TemplateOverrides {
        volume_mounts: BTreeMap::from([("/data".into(), crate::template::MountOverride::default())]),
        ..TemplateOverrides::default()
    };
    let mut pod = PodDefinition { template_overrides: Some(overrides), ..empty_pod() };
    address(&mut pod.networking, home_of(&Tenant::new("dev", "dev")));
    let Derived { definition, warnings } = merged(&pod, &[], &[]);
    assert_eq!((definition, warnings.len()), (pod, 1));
}

#[test]
fn an_override_that_makes_a_snapshot_or_file_of_a_volume_follows_its_rules() {
    let templates = template(json!({"volume_mounts":
        {"/a": {"type": "tapisvolume", "source_id": "${:?A}"}, "/b": {"type": "tapisvolume", "source_id": "${:?B}"}}}));
    let overrides = TemplateOverrides {
        volume_mounts: BTreeMap::from([
            (
                "/a".into(),
                crate::template::MountOverride {
                    kind: Some(MountKind::TapisSnapshot),
                    read_only: Some(false),
                    source_id: Some("snap".into()),
                    ..Default::default()
                },
            ),
            (
                "/b".into(),
                crate::template::MountOverride {
                    kind: Some(MountKind::Ephemeral),
                    config_content: Some("x".into()),
                    ..Default::default()
                },
            ),
        ]),
        ..TemplateOverrides::default()
    };
    let pod = PodDefinition { template_overrides: Some(overrides), ..empty_pod() };
    let mounts = merged(&pod, &[], &[&templates]).definition.volume_mounts;
    assert!(mounts["/a"].as_ref().unwrap().read_only);
    assert_eq!(mounts["/b"].as_ref().unwrap().source_id, None);
}

#[test]
fn a_pod_can_refuse_the_environment_and_the_mounts_of_its_templates() {
    let templates = template(json!({"environment_variables": {"A": "1"}, "image": "busybox",
        "volume_mounts": {"/etc/x": {"type": "ephemeral", "config_content": "x"}}}));
    let with = |name: &str, value: &str| {
        let mut pod = empty_pod();
        pod.environment_variables.insert(name.into(), value.into());
        let derived = merged(&pod, &["environment_variables"], &[&templates]).definition;
        (derived.environment_variables.contains_key("A"), !derived.volume_mounts.is_empty())
    };
    assert_eq!(with(USE_TEMPLATE_ENVIRONMENT, "TRUE"), (true, true));
    assert_eq!(with(USE_TEMPLATE_ENVIRONMENT, "no"), (false, true));
    assert_eq!(with(USE_TEMPLATE_MOUNTS, "false"), (true, false));
    assert_eq!(with("OTHER", "false"), (true, true));
}

#[test]
fn required_secrets_stay_visible_until_somebody_gives_them() {
    use crate::placeholder::placeholders;
    let templates =
        template(json!({"secret_map": {"PASS": "${:?Password}", "NAME": "${pods:default:app:?Name}"}}));
    let unmet = placeholders(&merged(&empty_pod(), &[], &[&templates]).definition.secret_map);
    assert_eq!((unmet.required.len(), unmet.optional.len()), (1, 1));
    let mut pod = empty_pod();
    pod.secret_map.insert("PASS".into(), "literal".into());
    let met = placeholders(&merged(&pod, &["secret_map"], &[&templates]).definition.secret_map);
    assert_eq!((met.required.len(), met.optional.len()), (0, 1));
}

fn linked(count: usize) -> Tags {
    let definition = |at: usize| TemplateDefinition {
        template: (at + 1 < count).then(|| format!("t{}", at + 1)),
        ..TemplateDefinition::default()
    };
    (0..count).map(|at| (format!("t{at}"), definition(at))).collect()
}

#[test]
fn chains_end_at_loops_missing_tags_and_the_limit() {
    assert_eq!(chain("", &Tags::new()), Ok(Vec::new()));
    assert_eq!(chain("t0", &linked(CHAIN_MAX)).unwrap().len(), CHAIN_MAX);
    assert_eq!(chain("t0", &linked(CHAIN_MAX + 1)), Err(ChainError::TooDeep));
    assert_eq!(chain("gone", &linked(2)), Err(ChainError::Missing("gone".into())));
    let mut tags = linked(3);
    tags.get_mut("t2").unwrap().template = Some("gone".into());
    assert_eq!(chain("t0", &tags), Err(ChainError::Missing("gone".into())));
    for back_to in ["t0", "t1", "t2"] {
        tags.get_mut("t2").unwrap().template = Some(back_to.into());
        let error = chain("t0", &tags).unwrap_err();
        assert_eq!(error, ChainError::Loop(back_to.into()));
        assert!(error.to_string().contains("infinite loop"));
    }
}

fn derived_of(
    pod: &PodDefinition,
    ledger: &BTreeSet<String>,
    chain: &[&TemplateDefinition],
) -> PodDefinition {
    let tenant = Tenant::new("dev", "dev");
    derive(pod, ledger, chain, home_of(&tenant)).definition
}

proptest! {
    #[test]
    fn a_chain_may_be_merged_in_any_grouping(
        pod in pods(), ledger in ledgers(), a in templates(), b in templates(), c in templates(),
    ) {
        let whole = derived_of(&pod, &ledger, &[&c, &b, &a]);
        prop_assert_eq!(&derived_of(&pod, &ledger, &[&merge_templates(&b, &c), &a]), &whole);
        prop_assert_eq!(&derived_of(&pod, &ledger, &[&c, &merge_templates(&a, &b)]), &whole);
    }

    #[test]
    fn a_ledger_field_always_wins(pod in pods(), ledger in ledgers(), a in templates(), b in templates()) {
        let derived = derived_of(&pod, &ledger, &[&b, &a]);
        let own = |name: &str| ledger.contains(name);
        if own("image") && !pod.image.is_empty() { prop_assert_eq!(&derived.image, &pod.image); }
        if own("description") { prop_assert_eq!(&derived.description, &pod.description); }
        if own("command") { prop_assert_eq!(&derived.command, &pod.command); }
        if own("arguments") { prop_assert_eq!(&derived.arguments, &pod.arguments); }
        if own("healthchecks") { prop_assert_eq!(&derived.healthchecks, &pod.healthchecks); }
        if own("compute_queue") { prop_assert_eq!(&derived.compute_queue, &pod.compute_queue); }
        if own("time_to_stop_default") {
            prop_assert_eq!(derived.time_to_stop_default, pod.time_to_stop_default);
        }
        if own("time_to_stop_instance") {
            prop_assert_eq!(derived.time_to_stop_instance, pod.time_to_stop_instance);
        }
        if own("resources.gpus") { prop_assert_eq!(derived.resources.gpus, pod.resources.gpus); }
        if own("resources") { prop_assert_eq!(&derived.resources, &pod.resources); }
        if own("environment_variables") {
            prop_assert!(pod.environment_variables.iter().all(|(k, v)| derived.environment_variables[k] == *v));
        }
        if own("secret_map") {
            prop_assert!(pod.secret_map.iter().all(|(k, v)| derived.secret_map[k] == *v));
        }
        if own("networking") {
            prop_assert!(pod.networking.iter().all(|(k, v)| derived.networking[k].port == v.port));
        }
        for (path, mount) in &pod.volume_mounts {
            prop_assert_eq!(derived.volume_mounts.get(path), mount.as_ref().map(|_| mount), "null removes");
        }
    }

    #[test]
    fn a_removal_in_a_template_removes_what_is_deeper(
        pod in pods(), ledger in ledgers(), mut close in templates(), deep in templates(),
    ) {
        close.volume_mounts.insert("/a".into(), None);
        let derived = derived_of(&pod, &ledger, &[&close, &deep]);
        let own = pod.volume_mounts.get("/a").cloned().flatten();
        prop_assert_eq!(derived.volume_mounts.get("/a").cloned().flatten(), own);
        prop_assert!(derived.volume_mounts.values().all(Option::is_some));
    }

    #[test]
    fn deriving_again_changes_nothing_and_sources_stay(
        pod in pods(), ledger in ledgers(), a in templates(), b in templates(),
    ) {
        let (before_pod, before_a, before_b) = (pod.clone(), a.clone(), b.clone());
        let once = derived_of(&pod, &ledger, &[&b, &a]);
        prop_assert_eq!(&derived_of(&pod, &ledger, &[&b, &a]), &once);
        prop_assert_eq!((pod, a, b), (before_pod, before_a, before_b));
    }

    #[test]
    fn the_entries_alone_are_those_of_the_whole(
        pod in pods(), ledger in ledgers(), a in templates(), b in templates(),
    ) {
        let tenant = Tenant::new("dev", "dev");
        let chains: [&[&TemplateDefinition]; 3] = [&[], &[&a], &[&b, &a]];
        for chain in chains {
            let alone = entries(&pod.networking, &ledger, chain, home_of(&tenant));
            prop_assert_eq!(alone, derived_of(&pod, &ledger, chain).networking);
        }
    }

    #[test]
    fn without_templates_only_addresses_and_removals_differ(mut pod in pods(), ledger in ledgers()) {
        pod.template_overrides = None;
        let mut derived = derived_of(&pod, &ledger, &[]);
        for entry in derived.networking.values_mut() { entry.url.clear(); }
        pod.volume_mounts.retain(|_, mount| mount.is_some());
        prop_assert_eq!(derived, pod);
    }
}
