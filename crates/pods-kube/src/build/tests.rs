use std::collections::BTreeMap;

use pods_core::{Networking, PodDefinition, Protocol, Resources, Tenant, definition::EffectivePod};
use uuid::Uuid;

use super::{Build, ComputeQueue, GpuResource, QueueError, Settings, pod, secret, service};

fn settings() -> Settings {
    Settings {
        image_pull_policy: "IfNotPresent".to_owned(),
        termination_grace_seconds: 30,
        compute_queues: vec![
            ComputeQueue { queue_name: "default".to_owned(), default: true, ..ComputeQueue::default() },
            ComputeQueue {
                queue_name: "gpu".to_owned(),
                node_selector: "gpu-node,yes".to_owned(),
                tolerations: vec![super::queue::QueueToleration {
                    key: Some("gpu".to_owned()),
                    operator: Some("Exists".to_owned()),
                    effect: Some("NoSchedule".to_owned()),
                    ..Default::default()
                }],
                gpu_resources: vec![GpuResource {
                    activation_resource: "nvidia.com/gpu".to_owned(),
                    max_gpu_request: 2,
                }],
                ..ComputeQueue::default()
            },
        ],
    }
}

fn definition() -> PodDefinition {
    PodDefinition { image: "busybox".to_owned(), ..PodDefinition::with_resources(Resources::default()) }
}

fn with<T>(definition: PodDefinition, f: impl FnOnce(&Build<'_>) -> T) -> T {
    let effective = EffectivePod { definition };
    f(&Build {
        tenant: &Tenant::new("tacc", "dev"),
        pod_id: "shop",
        uid: Uuid::parse_str("01234567-89ab-4def-8123-456789abcdef").unwrap(),
        k8_name: "pods-tacc-dev-shop",
        instance_id: Uuid::parse_str("fedcba98-7654-4321-8fed-cba987654321").unwrap(),
        effective: &effective,
        settings: &settings(),
    })
}

fn full() -> PodDefinition {
    PodDefinition {
        command: Some(vec!["sh".to_owned(), "-c".to_owned()]),
        arguments: Some(vec!["echo $(date) $HOME $$; sleep 1".to_owned(), "$HOME".to_owned()]),
        environment_variables: BTreeMap::from([
            ("GREETING".to_owned(), "hello".to_owned()),
            ("KUBERNETES_SERVICE_HOST".to_owned(), "elsewhere".to_owned()),
        ]),
        networking: BTreeMap::from([
            ("default".to_owned(), Networking { port: 8080, ..Networking::default() }),
            (
                "metrics".to_owned(),
                Networking { port: 9090, protocol: Protocol::LocalOnly, ..Networking::default() },
            ),
        ]),
        resources: Resources { ephemeral_storage_limit: 100, gpus: 1, ..Resources::default() },
        compute_queue: "gpu".to_owned(),
        ..definition()
    }
}

#[test]
fn a_plain_pod() {
    with(definition(), |build| {
        insta::assert_yaml_snapshot!("plain_pod", pod(build).unwrap());
        insta::assert_yaml_snapshot!("plain_service", service(build).unwrap());
        assert_eq!(secret(build), None);
    });
}

#[test]
fn a_full_pod() {
    with(full(), |build| {
        insta::assert_yaml_snapshot!("full_pod", pod(build).unwrap());
        insta::assert_yaml_snapshot!("full_service", service(build).unwrap());
        insta::assert_yaml_snapshot!("full_secret", secret(build).unwrap());
    });
}

#[test]
fn no_value_of_the_environment_stands_in_the_pod() {
    with(full(), |build| {
        let text = serde_json::to_string(&pod(build).unwrap()).unwrap();
        assert!(!text.contains("hello") && !text.contains("elsewhere"));
    });
}

#[test]
fn a_pod_without_networking_has_no_service() {
    let definition = PodDefinition { networking: BTreeMap::new(), ..definition() };
    with(definition, |build| {
        assert_eq!(service(build), None);
        assert_eq!(pod(build).unwrap().spec.unwrap().containers[0].ports, None);
    });
}

#[test]
fn a_queue_gives_only_what_it_has() {
    let asks = |queue: &str, gpus| {
        let resources = Resources { gpus, ..Resources::default() };
        with(PodDefinition { compute_queue: queue.to_owned(), resources, ..definition() }, |b| pod(b).err())
    };
    assert_eq!(asks("gpu", 2), None);
    assert_eq!(asks("gone", 0), None);
    assert_eq!(asks("gpu", 3), Some(QueueError::Gpus { asked: 3, queue: "gpu".to_owned(), most: 2 }));
    assert!(asks("default", 1).is_some());
}
