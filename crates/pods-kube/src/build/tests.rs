use std::collections::BTreeMap;

use pods_core::{
    Healthchecks, Networking, PodDefinition, Protocol, Resources, Tenant, VolumeMount,
    credentials::Credentials,
    definition::EffectivePod,
    healthcheck::Probe,
    image::ImageReference,
    mount::MountKind,
    patch::Home,
    resolve::{Resolved, resolve},
    resources::QueueError,
};
use uuid::Uuid;

use super::{
    Build, BuildError, ComputeQueue, Face, GpuResource, Settings, network_policy, pod, secret, service,
};

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
        ..Settings::default()
    }
}

fn definition() -> PodDefinition {
    PodDefinition { image: "busybox".to_owned(), ..PodDefinition::with_resources(Resources::default()) }
}

fn credentials() -> Credentials {
    Credentials {
        user_username: "shop".to_owned(),
        user_password: "user-canary".to_owned(),
        admin_username: "podsservice".to_owned(),
        admin_password: "admin-canary".to_owned(),
        random: BTreeMap::from([("TOKEN".to_owned(), "random-canary".to_owned())]),
    }
}

fn with<T>(definition: PodDefinition, f: impl FnOnce(&Build<'_>, &Resolved) -> T) -> T {
    let tenant = Tenant::new("tacc", "dev");
    let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "shop" };
    let resolved = resolve(&definition, &credentials(), home).unwrap();
    let effective = EffectivePod { definition };
    let build = Build {
        tenant: &tenant,
        pod_id: "shop",
        uid: Uuid::parse_str("01234567-89ab-4def-8123-456789abcdef").unwrap(),
        k8_name: "pods-tacc-dev-shop",
        instance_id: Uuid::parse_str("fedcba98-7654-4321-8fed-cba987654321").unwrap(),
        effective: &effective,
        settings: &settings(),
        traceparent: None,
        shutdown_volume: false,
    };
    f(&build, &resolved)
}

/// Those that the start froze.
fn entries<'a>(build: &Build<'a>) -> &'a BTreeMap<String, Networking> {
    &build.effective.definition.networking
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
    with(definition(), |build, resolved| {
        insta::assert_yaml_snapshot!("plain_pod", pod(build, resolved).unwrap());
        insta::assert_yaml_snapshot!("plain_service", service(build, entries(build)).unwrap());
        assert_eq!(secret(build, resolved), None);
    });
}

#[test]
fn a_full_pod() {
    with(full(), |build, resolved| {
        insta::assert_yaml_snapshot!("full_pod", pod(build, resolved).unwrap());
        insta::assert_yaml_snapshot!("full_service", service(build, entries(build)).unwrap());
        insta::assert_yaml_snapshot!("full_secret", secret(build, resolved).unwrap());
    });
}

fn with_values() -> PodDefinition {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let map = |entries: &[(&str, &str)]| {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let file = |content: &str, permissions: &str| VolumeMount {
        config_content: Some(content.to_owned()),
        config_permissions: permissions.to_owned(),
        ..VolumeMount::new(MountKind::Ephemeral)
    };
    PodDefinition {
        command: words(&["server", "--password=<<tapissecret_user_password>>$"]),
        arguments: words(&["echo $HOME $(date) <<TAPIS_service_password>>", "$HOME"]),
        environment_variables: map(&[
            ("DATABASE", "postgres://<<tapissecret_user_username>>:${pods:secrets:PASS}@db"),
            ("PLAIN", "env-canary"),
        ]),
        secret_map: map(&[("PASS", "map-canary"), ("TOKEN", "${pods:random:13}")]),
        volume_mounts: BTreeMap::from([
            ("/etc/app.ini".to_owned(), Some(file("file-canary ${pods:secrets:TOKEN}", "0644"))),
            ("/opt/run.sh".to_owned(), Some(file("#!/bin/sh", "0755"))),
            ("/removed".to_owned(), None),
        ]),
        ..definition()
    }
}

#[test]
fn a_pod_with_values_of_every_kind() {
    with(with_values(), |build, resolved| {
        insta::assert_yaml_snapshot!("values_pod", pod(build, resolved).unwrap());
        insta::assert_yaml_snapshot!("values_secret", secret(build, resolved).unwrap());
    });
}

#[test]
fn no_value_stands_in_the_pod_or_its_service() {
    with(with_values(), |build, resolved| {
        let pod = serde_json::to_string(&pod(build, resolved).unwrap()).unwrap();
        let service = serde_json::to_string(&service(build, entries(build))).unwrap();
        for text in [pod, service] {
            assert!(!text.contains("canary") && !text.contains("/bin/sh"), "{text}");
        }
        let data = secret(build, resolved).unwrap().data.unwrap();
        let data: String = data.values().map(|value| String::from_utf8(value.0.clone()).unwrap()).collect();
        for canary in ["user-canary", "admin-canary", "env-canary", "map-canary", "file-canary random-canary"]
        {
            assert!(data.contains(canary), "{canary} is missing");
        }
    });
}

#[test]
fn probes_are_what_the_user_asked_for() {
    let none = Probe {
        http_get_path: None,
        http_get_port: None,
        http_get_scheme: "HTTP".to_owned(),
        exec_command: None,
        tcp_socket_port: None,
        initial_delay_seconds: 10,
        period_seconds: 10,
        timeout_seconds: 5,
        failure_threshold: 3,
        success_threshold: 1,
    };
    let healthchecks = Healthchecks {
        liveness: Some(Probe {
            exec_command: Some(vec!["pg_isready".to_owned(), "-U".to_owned(), "$USER".to_owned()]),
            success_threshold: 2,
            ..none.clone()
        }),
        readiness: Some(Probe {
            http_get_path: Some("/up".to_owned()),
            http_get_scheme: "HTTPS".to_owned(),
            success_threshold: 2,
            ..none.clone()
        }),
        startup: Some(Probe { tcp_socket_port: Some(5432), failure_threshold: 60, ..none }),
        networking_requires_ready: true,
    };
    let definition = PodDefinition { healthchecks: Some(healthchecks), ..definition() };
    with(definition, |build, resolved| {
        let container = pod(build, resolved).unwrap().spec.unwrap().containers.remove(0);
        insta::assert_yaml_snapshot!(
            "probes",
            [container.liveness_probe, container.readiness_probe, container.startup_probe]
        );
    });
}

#[test]
fn visitors_wait_for_probes_unless_the_user_says_otherwise() {
    let open = |readiness: bool, networking_requires_ready: bool| {
        let probe = Probe { tcp_socket_port: Some(5432), ..Probe::default() };
        let healthchecks = Healthchecks {
            liveness: Some(probe.clone()),
            readiness: readiness.then_some(probe),
            startup: None,
            networking_requires_ready,
        };
        let definition = PodDefinition { healthchecks: Some(healthchecks), ..definition() };
        with(definition, |build, resolved| {
            let published = service(build, entries(build)).unwrap().spec.unwrap().publish_not_ready_addresses;
            let annotations = pod(build, resolved).unwrap().metadata.annotations.unwrap_or_default();
            let marked = annotations.contains_key(crate::labels::OPEN_UNREADY_ANNOTATION);
            assert_eq!(published == Some(true), marked, "the Service and what health sees agree");
            marked
        })
    };
    assert!(!open(true, true) && open(true, false) && !open(false, false));
}

#[test]
fn entries_that_share_a_port_share_its_name() {
    let entry = |port| Networking { port, ..Networking::default() };
    let networking = BTreeMap::from([
        ("admin".to_owned(), entry(9000)),
        ("api".to_owned(), entry(8080)),
        ("default".to_owned(), entry(8080)),
    ]);
    with(PodDefinition { networking, ..definition() }, |build, resolved| {
        let service = service(build, entries(build)).unwrap();
        let ports = service.spec.unwrap().ports.unwrap();
        let ports: Vec<_> = ports.iter().map(|port| (port.name.as_deref().unwrap(), port.port)).collect();
        assert_eq!(ports, [("p0", 9000), ("p1", 8080)]);
        let names = &service.metadata.annotations.unwrap()[crate::labels::PORTS_ANNOTATION];
        assert_eq!(names, r#"{"p0":"admin","p1":"api,default"}"#);
        let container = pod(build, resolved).unwrap().spec.unwrap().containers.remove(0);
        assert_eq!(container.ports.unwrap().len(), 2);
    });
}

#[test]
fn a_pod_without_networking_has_no_service() {
    let definition = PodDefinition { networking: BTreeMap::new(), ..definition() };
    with(definition, |build, resolved| {
        assert_eq!(service(build, entries(build)), None);
        assert_eq!(pod(build, resolved).unwrap().spec.unwrap().containers[0].ports, None);
    });
}

#[test]
fn a_service_follows_the_entries_and_its_face_says_when_it_does_not() {
    with(definition(), |build, _| {
        let face = |entries: &[(&str, i32)]| {
            let entry = |(name, port): &(&str, i32)| {
                ((*name).to_owned(), Networking { port: *port, ..Networking::default() })
            };
            let service = service(build, &entries.iter().map(entry).collect()).unwrap();
            // Kubernetes adds what it decides itself.
            let mut stored = service.clone();
            let spec = stored.spec.as_mut().unwrap();
            spec.cluster_ip = Some("10.0.0.7".to_owned());
            spec.session_affinity = Some("None".to_owned());
            assert_eq!(Face::of(&stored), Face::of(&service));
            Face::of(&service)
        };
        let one = face(&[("default", 5000)]);
        assert_eq!(one, face(&[("default", 5000)]));
        for other in [
            face(&[("default", 9000)]),
            face(&[("admin", 5000)]),
            face(&[("admin", 5000), ("default", 5000)]),
            face(&[("admin", 9000), ("default", 5000)]),
        ] {
            assert_ne!(one, other);
        }
        let mut open = service(build, entries(build)).unwrap();
        open.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
        assert_ne!(Face::of(&open), Face::of(&service(build, entries(build)).unwrap()));
    });
}

#[test]
fn a_queue_gives_only_what_it_has() {
    let asks = |queue: &str, gpus| {
        let resources = Resources { gpus, ..Resources::default() };
        with(PodDefinition { compute_queue: queue.to_owned(), resources, ..definition() }, |b, r| {
            pod(b, r).err()
        })
    };
    assert_eq!(asks("gpu", 2), None);
    assert_eq!(asks("gone", 0), None);
    let too_many = QueueError::Gpus { asked: 3, queue: "gpu".to_owned(), most: 2 };
    assert_eq!(asks("gpu", 3), Some(too_many.into()));
    assert!(asks("default", 1).is_some());
}

#[test]
fn a_private_image_is_pulled_with_the_secret_of_the_named_user() {
    let with_user = |user: &str| {
        let variable = (pods_core::pull_secret::VARIABLE.to_owned(), user.to_owned());
        PodDefinition { environment_variables: BTreeMap::from([variable]), ..definition() }
    };
    with(with_user("alice@example.org"), |build, resolved| {
        insta::assert_yaml_snapshot!("pull_secret_pod", pod(build, resolved).unwrap());
    });
    with(with_user(""), |build, resolved| {
        assert_eq!(pod(build, resolved).unwrap().spec.unwrap().image_pull_secrets, None);
    });
    let impossible = with(with_user("Alice"), pod);
    assert!(matches!(impossible, Err(BuildError::PullSecret(_))));
}

#[test]
fn an_installation_names_the_account_and_the_images_that_may_gain_privileges() {
    let gains = |image: &str| {
        let definition = PodDefinition { image: image.to_owned(), ..definition() };
        with(definition, |build, resolved| {
            let settings = Settings {
                escalation_images: vec![ImageReference::parse("example.org/lab/notebook").unwrap()],
                service_account: "nobody".to_owned(),
                ..build.settings.clone()
            };
            let spec = pod(&Build { settings: &settings, ..*build }, resolved).unwrap().spec.unwrap();
            assert_eq!(spec.service_account_name.as_deref(), Some("nobody"));
            assert_eq!(spec.automount_service_account_token, Some(false));
            spec.containers[0].security_context.clone().unwrap().allow_privilege_escalation
        })
    };
    assert_eq!(gains("example.org/lab/notebook:v3"), Some(true));
    assert_eq!(gains("example.org/lab/notebook-evil"), Some(false));
    assert_eq!(gains("notebook"), Some(false));
}

#[test]
fn the_pod_alone_carries_the_trace() {
    with(full(), |build, resolved| {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let build = Build { traceparent: Some(trace), ..*build };
        let of =
            |object: serde_json::Value| object["metadata"]["annotations"]["tapis.io/traceparent"].clone();
        assert_eq!(of(serde_json::to_value(pod(&build, resolved).unwrap()).unwrap()), trace);
        assert!(of(serde_json::to_value(service(&build, entries(&build))).unwrap()).is_null());
        assert!(of(serde_json::to_value(network_policy(&build, &full().networking)).unwrap()).is_null());
    });
}

#[test]
fn tenants_with_hyphens_have_names_and_labels_of_their_own() {
    let tenant = Tenant::new("tacc", "dev-two");
    with(definition(), |build, resolved| {
        let build = Build { tenant: &tenant, k8_name: "pods-tacc-dev-two-shop-01234567", ..*build };
        let meta = pod(&build, resolved).unwrap().metadata;
        assert_eq!(meta.name.as_deref(), Some("pods-tacc-dev-two-shop-01234567-fedcba98"));
        let labels = meta.labels.unwrap();
        assert_eq!(labels["tapis.io/tenant"], "dev-two");
        assert_eq!(labels["tapis.io/pod-id"], "shop");
    });
}

#[test]
fn a_pod_without_a_volume_gets_an_empty_one_for_old_kubelets() {
    with(definition(), |build, resolved| {
        let spec = pod(&Build { shutdown_volume: true, ..*build }, resolved).unwrap().spec.unwrap();
        insta::assert_yaml_snapshot!((&spec.volumes, &spec.containers[0].volume_mounts), @r#"
        - - emptyDir:
              sizeLimit: 1Mi
            name: shutdown
        - - mountPath: /run/tapis-pods
            name: shutdown
            readOnly: true
        "#);
    });
    // A volume of its own does the same.
    with(with_values(), |build, resolved| {
        assert!(!resolved.files.is_empty());
        let built = pod(&Build { shutdown_volume: true, ..*build }, resolved).unwrap();
        assert_eq!(built, pod(build, resolved).unwrap());
    });
}
