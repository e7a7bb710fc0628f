//! Probes.

use k8s_openapi::{
    api::core::v1::{ExecAction, HTTPGetAction, Probe as KubeProbe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use pods_core::healthcheck::{DEFAULT_HTTP_PORT, Probe};

/// A probe as Kubernetes wants it.
pub(super) fn probe(probe: &Probe) -> KubeProbe {
    KubeProbe {
        http_get: probe.http_get_path.as_ref().map(|path| HTTPGetAction {
            path: Some(path.clone()),
            port: IntOrString::Int(probe.http_get_port.unwrap_or(DEFAULT_HTTP_PORT)),
            scheme: Some(probe.http_get_scheme.clone()),
            ..HTTPGetAction::default()
        }),
        exec: probe.exec_command.as_ref().map(|command| ExecAction { command: Some(command.clone()) }),
        tcp_socket: probe
            .tcp_socket_port
            .map(|port| TCPSocketAction { port: IntOrString::Int(port), ..TCPSocketAction::default() }),
        initial_delay_seconds: Some(probe.initial_delay_seconds),
        period_seconds: Some(probe.period_seconds),
        timeout_seconds: Some(probe.timeout_seconds),
        failure_threshold: Some(probe.failure_threshold),
        success_threshold: Some(probe.success_threshold),
        ..KubeProbe::default()
    }
}

/// The same for liveness and startup, where Kubernetes accepts one success only.
pub(super) fn one_success(asked: &Probe) -> KubeProbe {
    KubeProbe { success_threshold: Some(1), ..probe(asked) }
}
