//! Texts of Kubernetes 1.20 with containerd, and of current releases.

use super::*;

fn of_a_pull(message: &str) -> Trouble {
    pull::trouble(message, None, &StatusContainer::default())
}

#[test]
fn a_registry_that_answers_no_is_told_from_one_that_does_not_answer() {
    let table = [
        (
            "rpc error: code = NotFound desc = failed to pull: docker.io/library/nope:latest: not found",
            Reason::ImageNotFound,
            true,
        ),
        ("manifest for x:1 not found: manifest unknown", Reason::ImageNotFound, true),
        (
            "pull access denied, repository does not exist or may require authorization",
            Reason::ImageDenied,
            true,
        ),
        ("failed to authorize: unexpected status: 401 Unauthorized", Reason::ImageDenied, true),
        ("no match for platform in manifest: not found", Reason::ImagePlatform, true),
        ("no matching manifest for linux/amd64 in the manifest list entries", Reason::ImagePlatform, true),
        ("dial tcp: lookup registry-1.docker.io: no such host", Reason::ImagePull, false),
        ("dial tcp 10.0.0.1:443: connect: connection refused", Reason::ImagePull, false),
        ("toomanyrequests: You have reached your pull rate limit", Reason::ImagePull, false),
        ("net/http: TLS handshake timeout", Reason::ImagePull, false),
        ("context deadline exceeded", Reason::ImagePull, false),
        ("unexpected status code 503 Service Unavailable", Reason::ImagePull, false),
        (
            r#"failed to resolve reference "localhost:1/not-found:1": unexpected status code [manifests 1]: 500 Internal Server Error"#,
            Reason::ImagePull,
            false,
        ),
    ];
    for (message, reason, definite) in table {
        let found = of_a_pull(message);
        assert_eq!((found.reason, found.definite), (reason, definite), "{message}");
        let last = message.rsplit(": ").next().unwrap();
        assert!(found.message.contains(last), "{}", found.message);
    }
}

#[test]
fn a_pull_is_told_without_the_names_of_those_who_pass_it_on() {
    let missing = of_a_pull(
        r#"rpc error: code = NotFound desc = failed to pull and unpack image "localhost:1/missing:1": failed to resolve reference "localhost:1/missing:1": localhost:1/missing:1: not found"#,
    );
    assert_eq!(missing.message, "The registry has no such image. localhost:1/missing:1: not found");
    let refused = of_a_pull(
        r#"Failed to pull image "localhost:1/x:1": rpc error: code = Unknown desc = failed to pull and unpack image "localhost:1/x:1": failed to resolve reference "localhost:1/x:1": failed to do request: Head "http://localhost:1/v2/x/manifests/1": dial tcp 127.0.0.1:1: connect: connection refused"#,
    );
    assert_eq!(refused.reason, Reason::ImagePull);
    assert!(
        refused.message.starts_with("The image could not be pulled. failed to do request"),
        "{}",
        refused.message
    );
}

#[test]
fn a_back_off_keeps_the_cause_that_is_known() {
    let back_off = r#"Back-off pulling image "x""#;
    let said = StatusContainer::because(Reason::ImagePull, "cause");
    let found = pull::trouble(back_off, Some("manifest unknown"), &said);
    assert_eq!(found, Trouble::passing(Reason::ImagePull, "cause".into()));
    // A process that has just been started learns the cause from the event.
    let found = pull::trouble(back_off, Some("manifest unknown"), &StatusContainer::default());
    assert_eq!((found.reason, found.definite), (Reason::ImageNotFound, true));
    assert_eq!(of_a_pull(back_off).reason, Reason::ImagePull);
}

#[test]
fn the_scheduler_s_causes_name_the_resource_and_who_can_act() {
    let table = [
        ("0/1 nodes are available: 1 Insufficient cpu.", "cpu_request", Actor::Owner),
        ("0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu.", "mem_request", Actor::Owner),
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", "GPU", Actor::Owner),
        (
            "0/1 nodes are available: 1 Insufficient ephemeral-storage.",
            "ephemeral_storage_request",
            Actor::Owner,
        ),
        ("0/1 nodes are available: 1 Too many pods.", "too many pods", Actor::Operator),
        ("0/1 nodes are available: 1 node(s) didn't match node selector.", "compute queue", Actor::Operator),
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity.",
            "compute queue",
            Actor::Operator,
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are \
             available: 1 Preemption is not helpful for scheduling.",
            "compute queue",
            Actor::Operator,
        ),
        ("0/1 nodes are available: 1 node(s) were unschedulable.", "maintenance", Actor::Operator),
        (
            "0/1 nodes are available: 1 node(s) had taint {node.kubernetes.io/unreachable: }, that the pod didn't tolerate.",
            "taint",
            Actor::Operator,
        ),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.", "taint", Actor::Operator),
        ("no nodes available to schedule pods", "no nodes", Actor::Operator),
        ("", "No node takes the pod.", Actor::Operator),
    ];
    for (message, words, actor) in table {
        let found = placement::trouble(message);
        assert_eq!((found.reason, found.actor, found.definite), (Reason::Unschedulable, Some(actor), false));
        assert!(found.message.contains(words) && found.message.ends_with(message), "{}", found.message);
    }
}

#[test]
fn what_the_runtime_says_about_a_start_becomes_a_sentence() {
    let wrapped = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
                   failed: unable to start container process: ";
    let missing = format!(
        "{wrapped}exec: \"/no/such/program\": stat /no/such/program: no such file or directory: unknown"
    );
    assert_eq!(
        in_words(&missing),
        "The image has no program \"/no/such/program\"; correct `command`. (exec: \"/no/such/program\": stat \
         /no/such/program: no such file or directory)"
    );
    let path = format!("{wrapped}exec: \"serve\": executable file not found in $PATH: unknown");
    assert!(in_words(&path).starts_with("The image has no program \"serve\""));
    let denied = format!("{wrapped}exec: \"/etc/passwd\": permission denied: unknown");
    assert!(in_words(&denied).contains("not executable") && in_words(&denied).contains("permission denied"));
    let old = "OCI runtime create failed: container_linux.go:349: starting container process caused \"exec: \\\"x\\\": \
               executable file not found in $PATH\": unknown";
    assert!(in_words(old).starts_with("The image has no"), "{}", in_words(old));
    let format = format!("{wrapped}exec /opt/program: exec format error: unknown");
    assert!(in_words(&format).contains("processors") && in_words(&format).contains("exec format error"));
    let mount = format!(
        "{wrapped}error during container init: error mounting \"/srv/data/kubelet/pods/1/volume-subpaths/v/c/0\" to \
         rootfs at \"/etc/passwd/app.ini\": open o_path procfd: open /run/pods-dev-1/containerd/io.containerd.runtime.v2.task/\
         k8s.io/1/rootfs/etc/passwd/app.ini: not a directory: unknown"
    );
    let words = in_words(&mount);
    assert!(words.contains("at \"/etc/passwd/app.ini\"") && words.starts_with("A file or folder"), "{words}");
    assert!(!words.contains("/srv/data") && !words.contains("/run/pods-dev"), "{words}");
    assert_eq!(in_words(""), "");
    // What is left where the command holds values.
    for said in [
        "no such file or directory",
        "not found in $PATH",
        "permission denied",
        "mounting",
        "exec format error",
    ] {
        let words = in_words(pods_kube::hidden::meaning(said));
        assert!(words.starts_with("The ") || words.starts_with("A file"), "{words}");
    }
}
