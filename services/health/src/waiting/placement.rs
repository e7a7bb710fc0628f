//! Why no node takes a pod, from the scheduler's sentence.

use pods_core::reason::{Actor, Reason};

use super::{Trouble, join};

/// What the scheduler misses, and what of a pod's definition asks for it.
const RESOURCES: [(&str, &str); 4] = [
    ("cpu", "CPU (resources.cpu_request)"),
    ("memory", "memory (resources.mem_request)"),
    ("ephemeral-storage", "ephemeral storage (resources.ephemeral_storage_request)"),
    ("pods", "room for another pod"),
];

/// Other causes, all of them the operators' to change: words of the scheduler, of 1.20 and of newer releases.
const CAUSES: [(&str, &str); 10] = [
    ("Too many pods", "the nodes hold as many pods as they may (too many pods)"),
    ("match Pod's node affinity", "no node belongs to the compute queue"),
    ("didn't match node selector", "no node belongs to the compute queue"),
    ("didn't match pod affinity", "no node is next to the pods that it has to be with"),
    ("were unschedulable", "the nodes are closed for maintenance (unschedulable)"),
    ("untolerated taint", "the nodes are kept for other pods or are in trouble (a taint)"),
    ("had taint", "the nodes are kept for other pods or are in trouble (a taint)"),
    ("volume node affinity conflict", "the pod's volume is on another node"),
    ("persistentvolumeclaim", "a claim of the pod cannot be had"),
    ("no nodes available to schedule pods", "the cluster has no nodes"),
];

/// The trouble of a pod that no node takes.
pub(super) fn trouble(message: &str) -> Trouble {
    // What comes after it is about the Pods that might have to make room.
    let own = message.split(" preemption: ").next().unwrap_or_default();
    let missing = missing(own);
    let mut causes: Vec<&str> = Vec::new();
    for (words, cause) in CAUSES {
        if own.contains(words) && !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    let mut text = "No node takes the pod".to_owned();
    match (missing.is_empty(), causes.is_empty()) {
        (true, true) => text += ".",
        (false, true) => text += &format!(": not enough {} is free.", missing.join(", ")),
        (true, false) => text += &format!(": {}.", causes.join("; ")),
        (false, false) => {
            text += &format!(": not enough {} is free; {}.", missing.join(", "), causes.join("; "));
        }
    }
    let actor = if missing.is_empty() { Actor::Operator } else { Actor::Owner };
    Trouble::passing(Reason::Unschedulable, join(&text, message)).for_the(actor)
}

/// The resources of `Insufficient x`, as users know them.
fn missing(message: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for after in message.split("Insufficient ").skip(1) {
        let name: &str = after.split([' ', ',']).next().unwrap_or_default().trim_end_matches('.');
        let known = RESOURCES.iter().find(|(resource, _)| *resource == name);
        let words = match known {
            Some((_, words)) => (*words).to_owned(),
            None if name.contains("gpu") => format!("{name} (a GPU, resources.gpus)"),
            None => name.to_owned(),
        };
        if !words.is_empty() && !missing.contains(&words) {
            missing.push(words);
        }
    }
    missing
}
