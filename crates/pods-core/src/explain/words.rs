//! Sentences for causes that the row has no words for, and what completes those that it has.

use super::Facts;
use crate::reason::Reason;

/// What a code means, as a sentence.
pub(super) fn of(code: Reason) -> String {
    match code {
        Reason::Queued => "The start is accepted and comes next.",
        Reason::Starting => "The container is being set up.",
        Reason::Running => "The container runs.",
        Reason::NotReady => "The container runs, but does not pass its probes.",
        Reason::Unschedulable => "No node takes the pod.",
        Reason::ImageNotFound => "The registry has no such image.",
        Reason::ImageDenied => "The registry refuses the image.",
        Reason::ImageInvalid => "The image's name is not one that the container runtime understands.",
        Reason::ImagePull => "The image could not be pulled.",
        Reason::ImagePlatform => "The image has no variant for the processors of this cluster.",
        Reason::ImagePullSecret => "The secret for pulling the image cannot be had.",
        Reason::Mount => "A volume could not be mounted.",
        Reason::Sandbox => "The node could not set up the sandbox and network of the pod.",
        Reason::ContainerConfig => "The container cannot be set up as it is defined.",
        Reason::ContainerStart => "The container could not be started.",
        Reason::ExitCode => "The container ended by itself.",
        Reason::OutOfMemory => "The container used more memory than its limit.",
        Reason::StorageLimit => "The pod wrote more than its storage limit.",
        Reason::ProbeFailed => "A probe failed too often, so Kubernetes ended the container.",
        Reason::Expired => "The time to stop has passed.",
        Reason::Evicted => "The pod had to leave its node.",
        Reason::NodePressure => "The node ran short of something and evicted the pod.",
        Reason::Preempted => "A pod of higher priority took its place.",
        Reason::NodeRefused => "The node did not take the pod.",
        Reason::NodeLost => "The node stopped answering.",
        Reason::Vanished => "The pod vanished from Kubernetes.",
        Reason::Refused => "The start was refused.",
        Reason::Quota => "A quota of the cluster is used up.",
        Reason::KubernetesUnreachable => {
            "Kubernetes does not answer at the moment; nothing is lost, the work goes on as soon as it does."
        }
        Reason::KubernetesDenied => {
            "Kubernetes denies this service what it needs; the work goes on once an operator has mended that."
        }
        Reason::BrokerUnreachable => {
            "The request is stored, but the message broker does not take the news of it at the moment; the work goes on \
             as soon as it does."
        }
        Reason::NoSpawner => {
            "The request is stored, but no spawner has taken it up for a while: they are away or busy. It goes on by \
             itself once one is there."
        }
        Reason::NoObserver => {
            "No process watches the containers at the moment, so it is not known how far the start is."
        }
        Reason::NameTaken => "A deleted pod of the same name still ends; this one starts right after it.",
        Reason::StorageUnavailable => "A volume, snapshot or claim of the pod cannot be had.",
        Reason::SecretUnavailable => "A secret or value of the pod cannot be had.",
        Reason::TemplateUnavailable => "The template of the pod does not exist any more.",
        Reason::KeysUnavailable => "This service cannot read the pod's credentials at the moment.",
        Reason::Stopping => "What is left of the pod is being removed.",
        Reason::Stopped => "The pod is stopped.",
    }
    .to_owned()
}

/// The message with the image or template that it is about, where it does not name it.
pub(super) fn complete(message: String, code: Reason, facts: &Facts<'_>) -> String {
    let about_image = matches!(
        code,
        Reason::ImageNotFound
            | Reason::ImageDenied
            | Reason::ImageInvalid
            | Reason::ImagePlatform
            | Reason::ImagePull
            | Reason::ImagePullSecret
            | Reason::ContainerConfig
    );
    let mut message = message;
    if about_image && !facts.image.is_empty() && !message.contains(facts.image) {
        message += &format!(" The image is \"{}\".", facts.image);
    }
    match facts.template {
        Some(template) if about_image && facts.image_of_template => {
            message += &format!(" It comes from the template \"{template}\".");
        }
        Some(template) if code == Reason::TemplateUnavailable && !message.contains(template) => {
            message += &format!(" It is \"{template}\".");
        }
        _ => {}
    }
    message
}
