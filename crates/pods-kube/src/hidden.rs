//! What may be told where a container's command holds values.
//!
//! The kubelet puts the values in, so the container runtime sees them, and repeats parts of the command when a start
//! fails: in quotes and without, whole and within paths, and no two releases alike. So none of its words are kept: what
//! they mean is told in ours.

/// Reasons of events in whose messages the runtime does not speak about the command.
const HARMLESS: [&str; 30] = [
    "BackOff",
    "Created",
    "ErrImageNeverPull",
    "Evicted",
    "ExceededGracePeriod",
    "FailedAttachVolume",
    "FailedCreatePodSandBox",
    "FailedMapVolume",
    "FailedMount",
    "FailedPodSandBoxStatus",
    "FailedScheduling",
    "InspectFailed",
    "Killing",
    "NetworkNotReady",
    "NodeNotReady",
    "NotTriggerScaleUp",
    "Preempted",
    "Preempting",
    "ProbeWarning",
    "Pulled",
    "Pulling",
    "SandboxChanged",
    "Scheduled",
    "Started",
    "SuccessfulAttachVolume",
    "SuccessfulMountVolume",
    "TaintManagerEviction",
    "TriggeredScaleUp",
    "Unhealthy",
    "VolumeResizeFailed",
];

/// Why a container waits where that is not about its command: images, and what it is put together of.
const NOT_OF_THE_COMMAND: [&str; 9] = [
    "ContainerCreating",
    "CreateContainerConfigError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "PodInitializing",
    "RegistryUnavailable",
];

/// What the runtime's words mean, in words that hold nothing of the command.
pub fn meaning(said: &str) -> &'static str {
    const MEANINGS: [(&str, &str); 10] = [
        ("no command specified", "no command specified"),
        ("mounting", "error mounting a file or folder"),
        ("exec format error", "exec format error"),
        ("not found in $PATH", "exec: executable file not found in $PATH"),
        ("no such file or directory", "exec: no such file or directory"),
        ("permission denied", "exec: permission denied"),
        ("is a directory", "exec: is a directory"),
        ("argument list too long", "exec: argument list too long"),
        ("OOM-killed", "the container was killed while it was set up, its memory limit may be too low"),
        ("deadline exceeded", "the container runtime did not answer in time"),
    ];
    MEANINGS.iter().find(|(words, _)| said.contains(words)).map_or("", |(_, meaning)| meaning)
}

/// What may be told of why a container waits.
pub fn of_waiting(reason: &str, message: String) -> String {
    match NOT_OF_THE_COMMAND.contains(&reason) {
        true => message,
        false => meaning(&message).to_owned(),
    }
}

/// What may be told of how a container ended. What it wrote itself before its end is left out too.
pub fn of_the_end(reason: &str, message: String) -> String {
    match reason {
        // The kubelet's own words.
        "ContainerStatusUnknown" => message,
        "ContainerCannotRun" | "StartError" => meaning(&message).to_owned(),
        _ => String::new(),
    }
}

/// What may be told of an event's message.
pub fn of_an_event(reason: &str, message: &str) -> String {
    let of_the_image = ["Failed to pull image", "Error: ErrImage", "Error: ImagePull"]
        .iter()
        .any(|words| message.starts_with(words));
    if HARMLESS.contains(&reason) || (reason == "Failed" && of_the_image) {
        return message.to_owned();
    }
    match meaning(message) {
        "" => "Not shown, because credentials are put into the command.".to_owned(),
        meaning => format!("Not shown in full, because credentials are put into the command: {meaning}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_command_is_left() {
        let table = [
            (r#"exec: "hunter2": executable file not found in $PATH: unknown"#, "not found in $PATH"),
            (
                r#"exec: "/opt/hunter2/run": stat /opt/hunter2/run: no such file or directory: unknown"#,
                "no such file or directory",
            ),
            ("exec /opt/hunter2/run: exec format error", "exec format error"),
            (r#"exec: "/hunter2": permission denied"#, "permission denied"),
            (r#"exec: "/hunter2": is a directory: unknown"#, "is a directory"),
            ("chdir to cwd (\"/hunter2\") failed", ""),
        ];
        for (said, words) in table {
            let told = [
                of_waiting("RunContainerError", said.to_owned()),
                of_waiting("CreateContainerError", said.to_owned()),
                of_waiting("SomethingNew", said.to_owned()),
                of_the_end("StartError", said.to_owned()),
                of_an_event("Failed", &format!("Error: failed to start container \"c\": {said}")),
                of_an_event("SomethingNew", said),
            ];
            for told in told {
                assert!(told.contains(words) && !told.contains("hunter2"), "{said}: {told}");
            }
        }
        assert_eq!(of_the_end("Error", "usage: hunter2".to_owned()), "");
    }

    #[test]
    fn what_is_not_about_the_command_is_told_as_it_is() {
        let pull = r#"failed to resolve reference "localhost:1/x:1": not found"#;
        assert_eq!(of_waiting("ErrImagePull", pull.to_owned()), pull);
        let event = format!("Failed to pull image \"x\": {pull}");
        assert_eq!(of_an_event("Failed", &event), event);
        assert_eq!(of_an_event("FailedScheduling", "0/1 nodes are available"), "0/1 nodes are available");
        assert!(of_the_end("ContainerStatusUnknown", "could not be located".to_owned()).contains("located"));
    }
}
