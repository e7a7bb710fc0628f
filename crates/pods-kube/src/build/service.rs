use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::Build;
use crate::labels;

/// The Service under the pod's own name; `None` when it has no networking entries.
///
/// It selects the start, not the name: a container that is going away never gets visitors of its successor.
pub fn service(build: &Build<'_>) -> Option<Service> {
    let ports: Vec<ServicePort> = build
        .ports()
        .into_iter()
        .map(|port| ServicePort {
            name: Some(port.name),
            port: port.number,
            target_port: Some(IntOrString::Int(port.number)),
            protocol: Some("TCP".to_owned()),
            ..ServicePort::default()
        })
        .collect();
    if ports.is_empty() {
        return None;
    }
    let mut metadata = build.meta(build.k8_name.to_owned());
    metadata.annotations = build.ports_annotation();
    let selector = BTreeMap::from([(labels::INSTANCE.to_owned(), build.instance_id.to_string())]);
    Some(Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector),
            ports: Some(ports),
            publish_not_ready_addresses: build.open_unready().then_some(true),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}
