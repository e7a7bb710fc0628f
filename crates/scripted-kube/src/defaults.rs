//! What the API server fills in.

use serde_json::{Value, json};

use crate::{resource::Resource, store::Store};

impl Store {
    /// What the API server fills in.
    pub(crate) fn defaults(&mut self, resource: &Resource, value: &mut Value) {
        match resource.plural {
            "pods" => {
                value["status"] = json!({"phase": "Pending", "qosClass": "Burstable"});
                let spec = &mut value["spec"];
                for (field, default) in [
                    ("restartPolicy", json!("Always")),
                    ("terminationGracePeriodSeconds", json!(30)),
                    ("dnsPolicy", json!("ClusterFirst")),
                    ("schedulerName", json!("default-scheduler")),
                ] {
                    if spec[field].is_null() {
                        spec[field] = default;
                    }
                }
            }
            "services" if value["spec"]["clusterIP"].is_null() => {
                self.addresses += 1;
                let [_, b, c, d] = self.addresses.to_be_bytes();
                value["spec"]["clusterIP"] = json!(format!("10.{}.{c}.{d}", 96_u8.wrapping_add(b)));
            }
            "namespaces" => value["status"] = json!({"phase": "Active"}),
            _ => {}
        }
    }
}
