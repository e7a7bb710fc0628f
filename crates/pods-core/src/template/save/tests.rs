use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    Resources, TemplateOverrides, Tenant,
    input::Violations,
    patch::Home,
    template::{
        arbitrary::{ledgers, pods, templates},
        derive,
    },
};

fn saved(
    pod: &PodDefinition,
    ledger: &BTreeSet<String>,
    chain: &[&TemplateDefinition],
) -> TemplateDefinition {
    let tenant = Tenant::new("dev", "dev");
    let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "mypod" };
    as_template_definition(pod, ledger, &derive(pod, ledger, chain, home).definition)
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn read(body: serde_json::Value) -> Result<TemplateDefinition, Vec<String>> {
    let mut violations = Violations::default();
    let definition = TemplateDefinition::read(&["body"], body, &mut violations);
    violations.or(definition).map_err(|violations| violations.0)
}

fn base() -> TemplateDefinition {
    read(json!({
        "image": "busybox",
        "volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "${:?Data}", "sub_path": "db"}},
        "secret_map": {"THEIRS": "x"}
    }))
    .unwrap()
}

#[test]
fn only_what_the_user_set_is_saved() {
    let mut pod = PodDefinition::with_resources(Resources { cpu_limit: 3000, ..Resources::default() });
    pod.template = "base:latest@2026-01-30-17:14:14".into();
    pod.command = Some(vec!["run".into()]);
    pod.description = "d".repeat(400);
    let ledger =
        names(&["pod_id", "template", "status_requested", "command", "description", "resources.cpu_limit"]);
    let definition = saved(&pod, &ledger, &[&base()]);
    let expected = TemplateDefinition {
        template: Some("base:latest@2026-01-30-17:14:14".into()),
        command: Some(vec!["run".into()]),
        description: Some("d".repeat(255)),
        resources: ResourcesPatch { cpu_limit: Some(3000), ..ResourcesPatch::default() },
        ..TemplateDefinition::default()
    };
    assert_eq!(definition, expected);
}

#[test]
fn nothing_of_the_owner_is_saved() {
    let mut violations = Violations::default();
    let overrides = json!({"volume_mounts": {"/data": {"source_id": "anns-volume"}},
        "secret_map": {"THEIRS": "${secret:ann:db}"}});
    let mut pod = PodDefinition::with_resources(Resources::default());
    pod.image = "busybox".into();
    pod.template_overrides = Some(TemplateOverrides::read(&["body"], overrides, &mut violations));
    assert_eq!(violations, Violations::default());
    for (key, value) in [("A", "hunter2"), ("B", "${secret:ann:api}"), ("C", "${:?Key of the API}")] {
        pod.secret_map.insert(key.into(), value.into());
    }
    let mount = |kind, source: &str| crate::VolumeMount {
        source_id: Some(source.to_owned()),
        mounted_by: Some("ann".into()),
        ..crate::VolumeMount::new(kind)
    };
    pod.volume_mounts.insert("/v".into(), Some(mount(MountKind::TapisVolume, "anns-other")));
    pod.volume_mounts.insert("/s}x".into(), Some(mount(MountKind::TapisSnapshot, "anns-snapshot")));
    pod.volume_mounts.insert("/p".into(), Some(mount(MountKind::Pvc, "claim")));
    pod.volume_mounts.insert("/gone".into(), None);
    let entry = Networking {
        url: "mypod.pods.dev.localhost".into(),
        custom_domain: "shop.example.org".into(),
        custom_domain_verified: true,
        ..Networking::default()
    };
    pod.networking.insert("default".into(), entry);
    let ledger = names(&["image", "secret_map", "volume_mounts", "networking", "template_overrides"]);
    let definition = saved(&pod, &ledger, &[&base()]);
    let text = serde_json::to_string(&definition).unwrap();
    for private in ["ann", "hunter2", "mypod", "shop.example"] {
        assert!(!text.contains(private), "{private}: {text}");
    }
    assert_eq!(definition.secret_map["C"], "${:?Key of the API}");
    assert_eq!(definition.secret_map["A"], "${:?Value of A}");
    assert_eq!(definition.secret_map["THEIRS"], "${:?Value of THEIRS}");
    let source = |path: &str| definition.volume_mounts[path].clone().unwrap().source_id.unwrap();
    assert_eq!(source("/data"), "${:?Volume for /data}");
    assert_eq!(source("/s}x"), "${:?Snapshot for /s)x}");
    assert_eq!(source("/p"), "claim");
    assert_eq!(definition.volume_mounts["/gone"], None);
    assert_eq!(
        definition.volume_mounts["/data"].clone().unwrap().sub_path,
        "db",
        "overrides keep the other keys"
    );
    assert!(!definition.networking["default"].custom_domain_verified);
}

proptest! {
    #[test]
    fn what_is_saved_is_a_definition_that_the_api_accepts(
        pod in pods(), ledger in ledgers(), a in templates(), b in templates(),
    ) {
        let definition = saved(&pod, &ledger, &[&b, &a]);
        let read = read(serde_json::to_value(&definition).unwrap());
        prop_assert_eq!(read, Ok(definition));
    }

    #[test]
    fn a_pod_of_the_saved_tag_runs_like_the_original(
        mut pod in pods(), ledger in ledgers(), base in templates(),
    ) {
        pod.template_overrides = None;
        let tenant = Tenant::new("dev", "dev");
        let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "mypod" };
        let original = derive(&pod, &ledger, &[&base], home).definition;
        let tag = saved(&pod, &ledger, &[&base]);
        let copy = PodDefinition::with_resources(Resources::default());
        let copy = derive(&copy, &BTreeSet::new(), &[&tag, &base], home).definition;
        if ledger.contains("image") || base.image.is_some() {
            prop_assert_eq!(&copy.image, &original.image);
        }
        prop_assert!(copy.environment_variables.keys().eq(original.environment_variables.keys()));
        prop_assert!(copy.volume_mounts.keys().eq(original.volume_mounts.keys()));
        prop_assert!(copy.secret_map.keys().eq(original.secret_map.keys()));
    }
}
