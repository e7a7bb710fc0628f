//! Definitions for property tests: few names, so that they meet each other.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::btree_map, option, prelude::*, sample::subsequence};

use super::{MountOverride, TemplateDefinition, TemplateOverrides};
use crate::{
    Healthchecks, Networking, PodDefinition, Protocol, Resources, VolumeMount,
    definition::DEFAULT_QUEUE,
    mount::{MountKind, Mounts},
    resources::ResourcesPatch,
};

/// Names that a ledger can have.
pub const LEDGER: [&str; 22] = [
    "pod_id",
    "image",
    "template",
    "description",
    "command",
    "arguments",
    "environment_variables",
    "secret_map",
    "volume_mounts",
    "template_overrides",
    "healthchecks",
    "networking",
    "compute_queue",
    "time_to_stop_default",
    "time_to_stop_instance",
    "status_requested",
    "resources",
    "resources.cpu_request",
    "resources.cpu_limit",
    "resources.mem_request",
    "resources.mem_limit",
    "resources.gpus",
];

pub fn ledgers() -> impl Strategy<Value = BTreeSet<String>> {
    subsequence(&LEDGER[..], 0..LEDGER.len()).prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn texts() -> impl Strategy<Value = String> {
    "[a-c]{1,2}"
}

fn variables() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[A-C]", texts(), 0..3)
}

fn seconds() -> impl Strategy<Value = i32> {
    prop_oneof![Just(-1), 300..100_000]
}

fn mounts(source: &'static str) -> impl Strategy<Value = Mounts> {
    let mount = prop_oneof![
        any::<bool>().prop_map(move |read_only| VolumeMount {
            source_id: Some(source.to_owned()),
            read_only,
            ..VolumeMount::new(MountKind::TapisVolume)
        }),
        texts().prop_map(|content| VolumeMount {
            config_content: Some(content),
            ..VolumeMount::new(MountKind::Ephemeral)
        }),
    ];
    btree_map("/(a|b|c)", option::of(mount), 0..3)
}

fn networking() -> impl Strategy<Value = BTreeMap<String, Networking>> {
    let entry = (prop_oneof![Just(Protocol::Http), Just(Protocol::LocalOnly)], 10..65_535).prop_map(
        |(protocol, port)| Networking {
            protocol,
            port,
            proxy_compression: protocol == Protocol::Http,
            ..Networking::default()
        },
    );
    btree_map(prop_oneof![Just("default".to_owned()), "(api|web)"], entry, 0..3)
}

fn healthchecks() -> impl Strategy<Value = Healthchecks> {
    any::<bool>().prop_map(|networking_requires_ready| Healthchecks {
        liveness: None,
        readiness: None,
        startup: None,
        networking_requires_ready,
    })
}

prop_compose! {
    fn resources()(
        cpu_request in option::of(prop_oneof![Just(0), 250..3000]),
        cpu_limit in option::of(250..6000),
        mem_request in option::of(256..5000),
        mem_limit in option::of(256..9000),
        ephemeral_storage_limit in option::of(prop_oneof![Just(-1), 1..5000]),
        gpus in option::of(0..2),
    ) -> ResourcesPatch {
        ResourcesPatch {
            cpu_request, cpu_limit, mem_request, mem_limit, ephemeral_storage_limit, gpus,
            ephemeral_storage_request: None,
        }
    }
}

prop_compose! {
    /// A definition that a body can have, without a template of its own.
    pub fn templates()(
        image in option::of(texts()),
        description in option::of(texts()),
        (command, arguments) in (option::of(prop::collection::vec(texts(), 0..3)), option::of(prop::collection::vec(texts(), 1..2))),
        environment_variables in variables(),
        secret_map in variables(),
        volume_mounts in mounts("${:?Volume}"),
        (time_to_stop_default, time_to_stop_instance) in (option::of(seconds()), option::of(seconds())),
        networking in networking(),
        resources in resources(),
        compute_queue in prop_oneof![Just(DEFAULT_QUEUE.to_owned()), Just("gpu".to_owned()), Just("big".to_owned())],
        healthchecks in option::of(healthchecks()),
    ) -> TemplateDefinition {
        TemplateDefinition {
            image, template: None, description, command, arguments, environment_variables, secret_map, volume_mounts,
            time_to_stop_default, time_to_stop_instance, networking, resources, compute_queue, healthchecks,
        }
    }
}

prop_compose! {
    fn overrides()(
        sources in btree_map("/(a|b|d)", option::of("my-[a-c]"), 0..3),
        secret_map in variables(),
    ) -> TemplateOverrides {
        let volume_mounts = sources
            .into_iter()
            .map(|(path, source_id)| (path, MountOverride { source_id, ..MountOverride::default() }))
            .collect();
        TemplateOverrides { volume_mounts, secret_map }
    }
}

prop_compose! {
    /// A stored pod; whether it names a template is up to the test.
    pub fn pods()(
        set in templates(),
        volume_mounts in mounts("own-volume"),
        template_overrides in option::of(overrides()),
    ) -> PodDefinition {
        PodDefinition {
            image: set.image.unwrap_or_default(),
            template: String::new(),
            description: set.description.unwrap_or_default(),
            command: set.command,
            arguments: set.arguments,
            environment_variables: set.environment_variables,
            secret_map: set.secret_map,
            volume_mounts,
            template_overrides,
            healthchecks: set.healthchecks,
            networking: set.networking,
            resources: set.resources.set().over(Resources::default()),
            compute_queue: set.compute_queue,
            time_to_stop_default: set.time_to_stop_default.unwrap_or(43_200),
            time_to_stop_instance: set.time_to_stop_instance,
        }
    }
}
