//! What a user is told while a pod waits. Each is written once: the text of a cause is always the same.

use pods_core::{
    Status,
    reason::{Actor, Reason, StatusContainer},
};
use pods_db::{DbError, locks::PodLock, pods::PodRow, transitions};
use tracing::warn;
use uuid::Uuid;

use crate::{cluster::Trouble, decide::Waiting};

/// What is told while Kubernetes does not do what it is asked; `None` where that is somebody else's to tell.
pub(super) fn for_kubernetes(trouble: &Trouble) -> Option<StatusContainer> {
    Some(match trouble {
        Trouble::Unknown(_) => StatusContainer::because(
            Reason::KubernetesUnreachable,
            "Kubernetes does not answer at the moment; nothing is lost, the work goes on as soon as it does",
        ),
        Trouble::Denied(_) => StatusContainer::because(
            Reason::KubernetesDenied,
            "Kubernetes does not permit this service to do its work: an operator has to check the service's \
             credentials, its role, and the namespace and service account of the pods. Nothing is lost, the work goes \
             on by itself once that is mended",
        ),
        Trouble::Refused { .. } | Trouble::NameTaken(_) | Trouble::LockLost => return None,
    })
}

/// What is told while the pod's values cannot be read.
pub(super) fn for_keys() -> StatusContainer {
    StatusContainer::because(
        Reason::KeysUnavailable,
        "the pod's credentials cannot be read at the moment; nothing is lost, the start goes on as soon as an operator \
         has mended it",
    )
}

/// What is told while something has to happen first; `None` where the row says it already.
pub(super) fn for_others(what: Waiting) -> Option<StatusContainer> {
    match what {
        Waiting::Predecessor => Some(StatusContainer::because(
            Reason::NameTaken,
            "a deleted pod of the same name still exists in Kubernetes; this start goes on by itself as soon as its \
             container has ended",
        )),
        Waiting::LostPod | Waiting::EarlierObjects | Waiting::NextAttempt | Waiting::EndOfObjects => None,
    }
}

/// What is told while an object that is not the pod's has one of its names.
pub(super) fn for_name(kind: &str, k8_name: &str) -> StatusContainer {
    StatusContainer::because(
        Reason::NameTaken,
        format!(
            "Kubernetes holds {kind} under a name that this pod needs ({k8_name}), and it belongs to something else: an \
             operator has to remove it, then the start goes on by itself"
        ),
    )
    .for_the(Some(Actor::Operator))
}

/// Whether a row says something that is not true any more once the objects of its start exist.
pub(super) fn is_over(told: &StatusContainer) -> bool {
    matches!(
        told.code,
        Some(
            Reason::KubernetesUnreachable
                | Reason::KubernetesDenied
                | Reason::KeysUnavailable
                | Reason::NameTaken
        )
    )
}

/// Tells it, unless the pod has moved on. That it could not be stored is no reason to stop waiting.
pub(super) async fn tell(lock: &mut PodLock, uid: Uuid, why: StatusContainer) {
    let told = async {
        if let Some(row) = PodRow::by_uid(lock.connection(), uid).await?
            && row.deleted_at.is_none()
            && Status::IN_PROGRESS.contains(&row.status)
        {
            transitions::set_status_container(lock.connection(), &row, &why).await?;
        }
        Ok::<(), DbError>(())
    };
    if let Err(error) = told.await {
        warn!(pod.uid = %uid, %error, "the reason for waiting could not be stored");
    }
}
