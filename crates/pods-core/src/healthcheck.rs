//! Probes of a pod (Kubernetes, "Configure Liveness, Readiness and Startup Probes").

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    input::{Field, Reader, Violations},
    limits::{COMMAND_BYTES_MAX, PROBE_PATH_MAX, PROBE_SECONDS_MAX, PROBE_THRESHOLD_MAX},
};

/// The port of an HTTP probe that names none.
pub const DEFAULT_HTTP_PORT: i32 = 5000;

/// The probes of a pod; replaced as a whole, never merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthchecks {
    /// Failing restarts the container.
    pub liveness: Option<Probe>,
    /// Failing takes the pod out of its Service.
    pub readiness: Option<Probe>,
    /// Holds the other probes back until it passes.
    pub startup: Option<Probe>,
    /// Whether the public address waits for readiness.
    pub networking_requires_ready: bool,
}

/// One probe; exactly one of HTTP (`http_get_path`), `exec_command` and `tcp_socket_port` is its action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Path of an HTTP probe.
    pub http_get_path: Option<String>,
    /// Port of an HTTP probe; [`DEFAULT_HTTP_PORT`] when it names none.
    pub http_get_port: Option<i32>,
    /// `HTTP` or `HTTPS`.
    pub http_get_scheme: String,
    /// Command of an exec probe.
    pub exec_command: Option<Vec<String>>,
    /// Port of a TCP probe.
    pub tcp_socket_port: Option<i32>,
    /// Seconds before the first probe.
    pub initial_delay_seconds: i32,
    /// Seconds between probes.
    pub period_seconds: i32,
    /// Seconds until a probe counts as failed.
    pub timeout_seconds: i32,
    /// Failures in a row that count.
    pub failure_threshold: i32,
    /// Successes in a row that count.
    pub success_threshold: i32,
}

impl Healthchecks {
    /// Reads the `healthchecks` object of a body.
    pub fn read(place: &[&str], value: Value, violations: &mut Violations) -> Self {
        let mut reader = Reader::new(place, value, violations);
        let mut probe = |key: &str, one_success: bool| {
            let read = |place: &[&str], value, v: &mut Violations| Probe::read(place, value, one_success, v);
            match reader.object(key, read) {
                Field::Set(probe) => Some(probe),
                Field::Absent | Field::Null => None,
            }
        };
        // Kubernetes accepts a success threshold above 1 for readiness only.
        let (liveness, readiness, startup) =
            (probe("liveness", true), probe("readiness", false), probe("startup", true));
        let networking_requires_ready =
            reader.boolean("networking_requires_ready").value().copied().unwrap_or(true);
        reader.finish();
        Self { liveness, readiness, startup, networking_requires_ready }
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self {
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
        }
    }
}

impl Probe {
    fn read(place: &[&str], value: Value, one_success: bool, violations: &mut Violations) -> Self {
        let noted_before = violations.0.len();
        let mut reader = Reader::new(place, value, violations);
        let r = &mut reader;
        let mut probe = Self {
            http_get_path: r.string("http_get_path").value().filter(|path| !path.is_empty()).cloned(),
            http_get_port: r.integer("http_get_port").value().copied(),
            exec_command: r.strings("exec_command").value().cloned(),
            tcp_socket_port: r.integer("tcp_socket_port").value().copied(),
            ..Self::default()
        };
        if let Field::Set(scheme) = r.string("http_get_scheme") {
            probe.http_get_scheme = scheme.to_ascii_uppercase();
        }
        let seconds = 1..=PROBE_SECONDS_MAX;
        bounded(r, "initial_delay_seconds", &mut probe.initial_delay_seconds, 0..=PROBE_SECONDS_MAX);
        bounded(r, "period_seconds", &mut probe.period_seconds, seconds.clone());
        bounded(r, "timeout_seconds", &mut probe.timeout_seconds, seconds);
        bounded(r, "failure_threshold", &mut probe.failure_threshold, 1..=PROBE_THRESHOLD_MAX);
        bounded(r, "success_threshold", &mut probe.success_threshold, 1..=PROBE_THRESHOLD_MAX);
        probe.check_values(r);
        if one_success && probe.success_threshold != 1 {
            r.rule("success_threshold", "success_threshold must be 1 for liveness and startup probes");
        }
        reader.finish();
        // A field of the wrong type was named already; that no action is left follows from it.
        if violations.0.len() == noted_before
            && let Err(problem) = probe.check_action()
        {
            violations.rule(place, problem);
        }
        probe
    }

    fn check_values(&self, r: &mut Reader<'_>) {
        if let Some(path) = &self.http_get_path
            && (!path.starts_with('/')
                || path.len() > PROBE_PATH_MAX
                || !path.chars().all(|c| c.is_ascii_graphic()))
        {
            r.rule(
                "http_get_path",
                format!(
                    "must start with / and have at most {PROBE_PATH_MAX} ASCII characters without spaces"
                ),
            );
        }
        if !matches!(self.http_get_scheme.as_str(), "HTTP" | "HTTPS") {
            r.rule("http_get_scheme", "http_get_scheme must be HTTP or HTTPS");
        }
        for (key, port) in [("http_get_port", self.http_get_port), ("tcp_socket_port", self.tcp_socket_port)]
        {
            if let Some(port) = port.filter(|port| !(1..=65_535).contains(port)) {
                r.rule(key, format!("{key} must be between 1 and 65535. Got port: {port}"));
            }
        }
        if let Some(command) = &self.exec_command {
            let bytes: usize = command.iter().map(|item| item.len() + 1).sum();
            if command.is_empty() || bytes > COMMAND_BYTES_MAX {
                r.rule(
                    "exec_command",
                    format!("exec_command must have a program and at most {COMMAND_BYTES_MAX} bytes"),
                );
            }
        }
    }

    fn check_action(&self) -> Result<(), &'static str> {
        let http = self.http_get_path.is_some() || self.http_get_port.is_some();
        let actions = [http, self.exec_command.is_some(), self.tcp_socket_port.is_some()];
        match actions.iter().filter(|present| **present).count() {
            1 if http && self.http_get_path.is_none() => Err("http_get_path is required with http_get_port"),
            1 => Ok(()),
            0 => Err("a probe needs an action: http_get_path, exec_command or tcp_socket_port"),
            _ => Err("a probe has exactly one action: http_get_path, exec_command or tcp_socket_port"),
        }
    }
}

fn bounded(r: &mut Reader<'_>, key: &str, target: &mut i32, bounds: std::ops::RangeInclusive<i32>) {
    if let Field::Set(value) = r.integer(key) {
        *target = value;
        if !bounds.contains(&value) {
            r.rule(key, format!("{key} must be between {} and {}", bounds.start(), bounds.end()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: Value) -> Result<Healthchecks, Vec<String>> {
        let mut violations = Violations::default();
        let checks = Healthchecks::read(&["body", "healthchecks"], body, &mut violations);
        violations.or(checks).map_err(|v| v.0)
    }

    #[test]
    fn defaults_are_filled_in_and_answers_can_be_sent_back() {
        let checks = parsed(json!({
            "liveness": null, "readiness": {"http_get_path": "/up", "http_get_port": "8080"}, "startup": null
        }))
        .unwrap();
        let expected =
            Probe { http_get_path: Some("/up".into()), http_get_port: Some(8080), ..Probe::default() };
        assert_eq!(checks.readiness, Some(expected));
        assert!(checks.networking_requires_ready && checks.liveness.is_none());
        assert_eq!(parsed(serde_json::to_value(&checks).unwrap()), Ok(checks));
        assert!(parsed(json!({})).is_ok());
    }

    #[test]
    fn every_action_is_possible_alone() {
        for probe in [
            json!({"http_get_path": "/", "http_get_scheme": "https", "exec_command": null}),
            json!({"exec_command": ["true"], "http_get_path": "", "http_get_port": ""}),
            json!({"tcp_socket_port": 5432, "success_threshold": 3}),
        ] {
            assert!(parsed(json!({"readiness": probe})).is_ok(), "{probe}");
        }
    }

    #[test]
    fn each_bad_probe_is_named() {
        let cases = [
            (json!({"liveness": {}}), "a probe needs an action"),
            (json!({"liveness": {"http_get_port": 80}}), "http_get_path is required"),
            (json!({"liveness": {"http_get_path": "/", "tcp_socket_port": 80}}), "exactly one action"),
            (json!({"liveness": {"http_get_path": "up"}}), "must start with /"),
            (json!({"liveness": {"http_get_path": "/", "http_get_scheme": "FTP"}}), "HTTP or HTTPS"),
            (json!({"liveness": {"tcp_socket_port": 0}}), "between 1 and 65535"),
            (json!({"liveness": {"http_get_path": "/", "http_get_port": 65536}}), "between 1 and 65535"),
            (json!({"liveness": {"exec_command": []}}), "must have a program"),
            (json!({"liveness": {"exec_command": "true"}}), "valid list of strings"),
            (json!({"liveness": {"tcp_socket_port": 80, "success_threshold": 2}}), "must be 1 for liveness"),
            (json!({"startup": {"tcp_socket_port": 80, "success_threshold": 2}}), "must be 1 for liveness"),
            (json!({"readiness": {"tcp_socket_port": 80, "failure_threshold": 0}}), "failure_threshold must"),
            (json!({"readiness": {"tcp_socket_port": 80, "period_seconds": 0}}), "period_seconds must"),
            (json!({"readiness": {"tcp_socket_port": 80, "initial_delay_seconds": -1}}), "between 0"),
            (json!({"readiness": {"tcp_socket_port": 80, "bogus": 1}}), "Extra inputs"),
            (json!({"readiness": 1}), "expected a JSON object"),
            (json!({"bogus": null}), "Extra inputs"),
            (json!([]), "expected a JSON object"),
        ];
        for (body, expected) in cases {
            let problems = parsed(body.clone()).unwrap_err();
            assert_eq!(problems.len(), 1, "{body}: {problems:?}");
            assert!(problems[0].contains(expected), "{body}: {problems:?}");
            assert!(problems[0].starts_with("body, healthchecks"), "{problems:?}");
        }
    }
}
