use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EnvVar, EnvVarSource, LocalObjectReference, Pod, PodSecurityContext,
        PodSpec, ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use pods_core::{
    image::ImageReference,
    pull_secret::{self, PullSecretError},
    resolve::{Part, Resolved, Word},
    resources::QueueError,
};

use super::{Build, ComputeQueue, files, ports, ports_annotation, probe, shutdown};
use crate::labels;

/// Variables that Kubernetes would set by itself; blank, so that a container learns nothing of the cluster.
const BLANKED: [&str; 8] = [
    "KUBERNETES_PORT",
    "KUBERNETES_PORT_443_TCP",
    "KUBERNETES_PORT_443_TCP_ADDR",
    "KUBERNETES_PORT_443_TCP_PORT",
    "KUBERNETES_PORT_443_TCP_PROTO",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "KUBERNETES_SERVICE_PORT_HTTPS",
];

/// Why no Pod can be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The compute queue cannot give what the pod asks for.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The definition names registry credentials that cannot exist.
    #[error(transparent)]
    PullSecret(#[from] PullSecretError),
}

/// The Pod of one start.
///
/// # Errors
/// [`BuildError`].
pub fn pod(build: &Build<'_>, resolved: &Resolved) -> Result<Pod, BuildError> {
    let definition = &build.effective.definition;
    let queue = ComputeQueue::find(&build.settings.compute_queues, &definition.compute_queue);
    let ports: Vec<ContainerPort> = ports(&definition.networking)
        .into_iter()
        .map(|port| ContainerPort {
            name: Some(port.name),
            container_port: port.number,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        })
        .collect();
    let checks = definition.healthchecks.as_ref();
    let container = Container {
        name: build.k8_name.to_owned(),
        image: Some(definition.image.clone()),
        image_pull_policy: Some(build.settings.image_pull_policy.clone()),
        command: resolved.command.as_deref().map(words),
        args: resolved.arguments.as_deref().map(words),
        env: Some(environment(build, resolved)),
        ports: (!ports.is_empty()).then_some(ports),
        resources: Some(resources(build, &queue)?),
        volume_mounts: files::mounts(&resolved.files)
            .or_else(|| build.shutdown_volume.then(|| vec![shutdown::mount()])),
        liveness_probe: checks.and_then(|all| all.liveness.as_ref()).map(probe::one_success),
        readiness_probe: checks.and_then(|all| all.readiness.as_ref()).map(probe::probe),
        startup_probe: checks.and_then(|all| all.startup.as_ref()).map(probe::one_success),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(may_gain_privileges(build)),
            ..SecurityContext::default()
        }),
        ..Container::default()
    };
    let pull_secret = pull_secret::of(&definition.environment_variables)?;
    let mut metadata = build.meta(build.instance_name());
    metadata.annotations = annotations(build);
    Ok(Pod {
        metadata,
        spec: Some(PodSpec {
            containers: vec![container],
            volumes: files::volume(&build.instance_name(), &resolved.files)
                .or_else(|| build.shutdown_volume.then(shutdown::volume))
                .map(|volume| vec![volume]),
            hostname: Some(build.k8_name.to_owned()),
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(build.settings.termination_grace_seconds),
            service_account_name: Some(build.settings.service_account.clone()),
            automount_service_account_token: Some(false),
            image_pull_secrets: pull_secret.map(|secret| vec![LocalObjectReference { name: secret.name }]),
            enable_service_links: Some(false),
            node_selector: queue.selector(),
            tolerations: queue.kube_tolerations(),
            security_context: Some(PodSecurityContext {
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        }),
        ..Pod::default()
    })
}

fn annotations(build: &Build<'_>) -> Option<BTreeMap<String, String>> {
    let ports = ports(&build.effective.definition.networking);
    let mut annotations = ports_annotation(&ports).unwrap_or_default();
    if let Some(traceparent) = build.traceparent {
        annotations.insert(labels::TRACEPARENT_ANNOTATION.to_owned(), traceparent.to_owned());
    }
    if build.open_unready() {
        annotations.insert(labels::OPEN_UNREADY_ANNOTATION.to_owned(), "true".to_owned());
    }
    (!annotations.is_empty()).then_some(annotations)
}

fn may_gain_privileges(build: &Build<'_>) -> bool {
    let image = ImageReference::parse(&build.effective.definition.image);
    let listed = |image: &ImageReference| {
        build.settings.escalation_images.iter().any(|allowed| image.is_covered_by(allowed))
    };
    image.is_ok_and(|image| listed(&image))
}

fn words(words: &[Word]) -> Vec<String> {
    words.iter().map(word).collect()
}

/// Kubernetes expands `$(NAME)` and halves `$$`. That is how a value gets in, and it must not happen to anything else:
/// the container sees what the user wrote.
fn word(parts: &Word) -> String {
    let expands = parts.iter().any(|part| match part {
        Part::Text(text) => text.contains("$(") || text.contains("$$"),
        Part::Variable(_) => true,
    });
    let part = |part: &Part| match part {
        Part::Text(text) if expands => text.replace('$', "$$"),
        Part::Text(text) => text.clone(),
        Part::Variable(name) => format!("$({name})"),
    };
    parts.iter().map(part).collect()
}

/// The image and a revision, as existing images expect them; the blanks; then the user's own variables, which win, and
/// those that the command refers to.
fn environment(build: &Build<'_>, resolved: &Resolved) -> Vec<EnvVar> {
    let plain = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    };
    let ours = BLANKED
        .iter()
        .map(|name| plain(name, ""))
        .chain([plain("image", &build.effective.definition.image), plain("revision", "1")])
        .filter(|variable| !resolved.environment.contains_key(&variable.name));
    let secret = build.instance_name();
    let users = resolved.environment.keys().chain(resolved.variables.keys()).map(|name| EnvVar {
        name: name.clone(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.clone(),
                key: name.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    });
    ours.chain(users).collect()
}

fn resources(build: &Build<'_>, queue: &ComputeQueue) -> Result<ResourceRequirements, QueueError> {
    let wanted = &build.effective.definition.resources;
    let gpu = queue.gpu_resource(wanted.gpus)?;
    let map = |cpu: i32, mem: i32, storage: i32| {
        let mut map = BTreeMap::new();
        for (name, amount, unit) in
            [("cpu", cpu, "m"), ("memory", mem, "Mi"), ("ephemeral-storage", storage, "Mi")]
        {
            // -1 and 0 mean that nothing is set.
            if amount > 0 {
                map.insert(name.to_owned(), Quantity(format!("{amount}{unit}")));
            }
        }
        if let Some(gpu) = gpu {
            map.insert(gpu.to_owned(), Quantity(wanted.gpus.to_string()));
        }
        map
    };
    Ok(ResourceRequirements {
        requests: Some(map(wanted.cpu_request, wanted.mem_request, wanted.ephemeral_storage_request)),
        limits: Some(map(wanted.cpu_limit, wanted.mem_limit, wanted.ephemeral_storage_limit)),
        ..ResourceRequirements::default()
    })
}
