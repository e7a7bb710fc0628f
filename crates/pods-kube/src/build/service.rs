use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Build, Entries, ports, ports_annotation};
use crate::labels;

/// The Service under the pod's own name, for a pod whose entries are `entries`; `None` when there are none.
///
/// It selects the start, not the name: a container that is going away never gets visitors of its successor. Its ports
/// follow the entries as they are now, as routes do, not those that the start froze: an entry that is added to a running
/// pod is reached as soon as the container listens.
pub fn service(build: &Build<'_>, entries: &Entries) -> Option<Service> {
    let ports = ports(entries);
    if ports.is_empty() {
        return None;
    }
    let mut metadata = build.meta(build.k8_name.to_owned());
    metadata.annotations = ports_annotation(&ports);
    let selector = BTreeMap::from([(labels::INSTANCE.to_owned(), build.instance_id.to_string())]);
    let ports = ports.into_iter().map(|port| ServicePort {
        name: Some(port.name),
        port: port.number,
        target_port: Some(IntOrString::Int(port.number)),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    });
    Some(Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector),
            ports: Some(ports.collect()),
            publish_not_ready_addresses: build.open_unready().then_some(true),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

/// What a Service offers, of all that Kubernetes says about it: one that exists is right when its face is the one that is
/// wanted, and it selects the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    ports: Vec<(Option<String>, i32, Option<String>)>,
    /// Which entries the ports stand for.
    names: Option<String>,
    open_unready: bool,
}

impl Face {
    /// The face of a Service.
    pub fn of(service: &Service) -> Self {
        let spec = service.spec.as_ref();
        let target = |target: &IntOrString| match target {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(name) => name.clone(),
        };
        let ports = spec.and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
        let names = service.metadata.annotations.as_ref();
        Self {
            ports: ports
                .map(|port| (port.name.clone(), port.port, port.target_port.as_ref().map(target)))
                .collect(),
            names: names.and_then(|all| all.get(labels::PORTS_ANNOTATION)).cloned(),
            open_unready: spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true),
        }
    }
}
