//! Programs that use the API as users do: they say `done` in the end, or what went wrong.

use std::process::Command;

/// A proxy of the machine's is not for this machine's ports: programs are started without these.
pub const PROXIES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// Runs a program to its end.
pub async fn run(mut command: Command) {
    for name in PROXIES {
        command.env_remove(name);
    }
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("running a command does not panic");
    let output = output.expect("the program can be run");
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(String::from_utf8_lossy(&output.stdout).trim_end().ends_with("done"), "{text}");
}
