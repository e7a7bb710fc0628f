//! Nodes and what fits on them. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::store::now;

/// Amounts of resources by name: CPU in thousandths, everything else in units.
pub type Amounts = BTreeMap<String, i64>;

/// A node, as far as placement needs it.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it has.
    pub capacity: Amounts,
    /// What is asked of it.
    pub used: Amounts,
    /// For node selectors.
    pub labels: BTreeMap<String, String>,
    /// The status of its condition Ready: `True`, `False` or `Unknown`.
    pub ready: String,
    /// What it runs short of: `memory`, `disk` or `pid`.
    pub pressure: Option<String>,
}

/// What each node has.
const CAPACITY: &[(&str, &str)] =
    &[("cpu", "64"), ("memory", "256Gi"), ("ephemeral-storage", "1Ti"), ("pods", "250")];

impl Node {
    /// A node that is ready and empty.
    pub fn new(name: &str) -> Self {
        Self {
            capacity: CAPACITY.iter().map(|(key, text)| ((*key).to_owned(), quantity(key, text))).collect(),
            used: Amounts::new(),
            labels: BTreeMap::from([
                ("kubernetes.io/hostname".to_owned(), name.to_owned()),
                ("kubernetes.io/os".to_owned(), "linux".to_owned()),
                ("kubernetes.io/arch".to_owned(), "amd64".to_owned()),
            ]),
            ready: "True".to_owned(),
            pressure: None,
        }
    }

    /// The object.
    pub fn object(&self, name: &str) -> Value {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now(), "lastTransitionTime": now(),
            })
        };
        let silent = self.ready == "Unknown";
        let ready = match self.ready.as_str() {
            "True" => condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            "False" => condition("Ready", "False", "KubeletNotReady", "container runtime network not ready"),
            _ => condition("Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."),
        };
        let pressures = [("MemoryPressure", "memory"), ("DiskPressure", "disk"), ("PIDPressure", "pid")];
        let mut conditions: Vec<Value> = pressures
            .iter()
            .map(|(kind, what)| match (silent, self.pressure.as_deref() == Some(*what)) {
                (true, _) => {
                    condition(kind, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
                }
                (false, true) => condition(kind, "True", "KubeletHasPressure", "kubelet runs short"),
                (false, false) => condition(kind, "False", "KubeletHasSufficient", "kubelet has sufficient"),
            })
            .collect();
        conditions.push(ready);
        let mut taints = Vec::new();
        match self.ready.as_str() {
            "Unknown" => taints.push(json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"})),
            "False" => taints.push(json!({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"})),
            _ => {}
        }
        if let Some(pressure) = &self.pressure {
            let key = format!("node.kubernetes.io/{pressure}-pressure");
            taints.push(json!({"key": key, "effect": "NoSchedule"}));
        }
        let capacity: BTreeMap<&str, &str> = CAPACITY.iter().copied().collect();
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": self.labels},
            "spec": {"taints": taints},
            "status": {
                "capacity": capacity, "allocatable": capacity, "conditions": conditions,
                "nodeInfo": {"kubeletVersion": "v1.33.0", "architecture": "amd64", "operatingSystem": "linux"},
            },
        })
    }

    fn takes_pods(&self) -> bool {
        self.ready == "True" && self.pressure.is_none()
    }

    /// What it lacks for a Pod.
    fn lacks(&self, wanted: &Amounts) -> Vec<String> {
        let lacking = wanted.iter().filter(|(key, amount)| {
            let free = self.capacity.get(*key).unwrap_or(&0) - self.used.get(*key).unwrap_or(&0);
            **amount > free
        });
        lacking
            .map(
                |(key, _)| {
                    if key == "pods" { "Too many pods".to_owned() } else { format!("Insufficient {key}") }
                },
            )
            .collect()
    }

    /// Takes or gives back what a Pod asks for.
    pub fn account(&mut self, wanted: &Amounts, sign: i64) {
        for (key, amount) in wanted {
            *self.used.entry(key.clone()).or_default() += sign * amount;
        }
    }
}

/// What the containers of a Pod ask for; and one place.
pub fn requests(pod: &Value) -> Amounts {
    let mut sum = Amounts::from([("pods".to_owned(), 1)]);
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        let resources = &container["resources"];
        for (key, amount) in resources["requests"].as_object().into_iter().flatten() {
            *sum.entry(key.clone()).or_default() += quantity(key, amount.as_str().unwrap_or_default());
        }
        // What has a limit only, asks for that.
        for (key, amount) in resources["limits"].as_object().into_iter().flatten() {
            if resources["requests"][key].is_null() {
                *sum.entry(key.clone()).or_default() += quantity(key, amount.as_str().unwrap_or_default());
            }
        }
    }
    sum
}

/// Finds the node with the fewest Pods that takes this one.
///
/// # Errors
/// The scheduler's sentence about why there is none.
pub fn place(nodes: &BTreeMap<String, Node>, pod: &Value, wanted: &Amounts) -> Result<String, String> {
    let selector = pod["spec"]["nodeSelector"].as_object();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(&i64, &String)> = None;
    for (name, node) in nodes {
        let selected = selector
            .into_iter()
            .flatten()
            .all(|(key, value)| node.labels.get(key).map(String::as_str) == value.as_str());
        if !node.takes_pods() {
            *reasons.entry("node(s) had untolerated taint".to_owned()).or_default() += 1;
            continue;
        }
        if !selected {
            *reasons.entry("node(s) didn't match Pod's node affinity/selector".to_owned()).or_default() += 1;
            continue;
        }
        let lacking = node.lacks(wanted);
        if lacking.is_empty() {
            let count = node.used.get("pods").unwrap_or(&0);
            if best.is_none_or(|(fewest, _)| count < fewest) {
                best = Some((count, name));
            }
        }
        for reason in lacking {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    match best {
        Some((_, name)) => Ok(name.clone()),
        None => {
            let reasons: Vec<String> =
                reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            Err(format!("0/{} nodes are available: {}.", nodes.len(), reasons.join(", ")))
        }
    }
}

/// Reads `100m`, `2`, `512Mi`, `1Gi`, `1e3`; CPU in thousandths.
pub fn quantity(resource: &str, text: &str) -> i64 {
    const UNITS: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1048576.0),
        ("Gi", 1073741824.0),
        ("Ti", 1099511627776.0),
        ("m", 0.001),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    let unit =
        UNITS.iter().find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1.0));
    let scale = if resource == "cpu" { 1000.0 } else { 1.0 };
    (number.parse::<f64>().unwrap_or_default() * factor * scale).ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> BTreeMap<String, Node> {
        (0..count).map(|at| format!("n{at}")).map(|name| (name.clone(), Node::new(&name))).collect()
    }

    fn pod(requests: Value) -> Value {
        json!({"spec": {"containers": [{"resources": {"requests": requests}}]}})
    }

    #[test]
    fn quantities_are_read() {
        for (resource, text, expected) in
            [("cpu", "100m", 100), ("cpu", "2", 2000), ("memory", "1Mi", 1_048_576), ("pods", "250", 250)]
        {
            assert_eq!(quantity(resource, text), expected, "{text}");
        }
    }

    #[test]
    fn the_emptiest_node_that_fits_is_taken_and_the_reason_is_the_schedulers() {
        let mut nodes = nodes(2);
        let small = pod(json!({"cpu": "1"}));
        let wanted = requests(&small);
        let first = place(&nodes, &small, &wanted).unwrap();
        nodes.get_mut(&first).unwrap().account(&wanted, 1);
        assert_ne!(place(&nodes, &small, &wanted).unwrap(), first);
        let big = pod(json!({"cpu": "65"}));
        let why = place(&nodes, &big, &requests(&big)).unwrap_err();
        assert_eq!(why, "0/2 nodes are available: 2 Insufficient cpu.");
        let gpu = pod(json!({"nvidia.com/gpu": "1"}));
        assert!(place(&nodes, &gpu, &requests(&gpu)).unwrap_err().contains("2 Insufficient nvidia.com/gpu"));
        nodes.values_mut().for_each(|node| node.ready = "Unknown".to_owned());
        assert!(place(&nodes, &small, &wanted).is_err());
    }
}
