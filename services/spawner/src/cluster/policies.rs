//! The NetworkPolicy of a start.

use kube::api::{ListParams, Patch, PatchParams};
use pods_kube::{Failure, client::call};
use serde_json::json;

use super::{Cluster, Fence, Plan, Trouble, guard, object, refused_or_unknown};
use crate::{decide::PolicyStep, world::Object};

impl Cluster {
    /// The policies that a selector finds; only their metadata is read.
    pub(super) async fn list_policies(&self, selector: &ListParams) -> Result<Vec<Object>, Failure> {
        if !self.with_policies {
            return Ok(Vec::new());
        }
        let found = call(self.policies.list_metadata(selector)).await?;
        Ok(found.items.iter().map(|policy| object(&policy.metadata)).collect())
    }

    /// Creates the policy, or gives it the rules that it must have now.
    pub(super) async fn protect(
        &self,
        plan: &Plan<'_>,
        step: &PolicyStep,
        fence: Fence<'_>,
    ) -> Result<(), Trouble> {
        let Some(policy) = plan.policy else { return Ok(()) };
        match step {
            PolicyStep::Keep | PolicyStep::Own => Ok(()),
            PolicyStep::Create => {
                self.create(&self.policies, policy, "a NetworkPolicy", &plan.build, fence).await.map(drop)
            }
            PolicyStep::Change(existing) => {
                guard(fence)?;
                // The uid makes it fail if the policy is another one by now.
                let patch = json!({
                    "metadata": {"uid": existing.k8s_uid, "annotations": policy.metadata.annotations},
                    "spec": policy.spec,
                });
                let (name, params) = (&existing.name, PatchParams::default());
                let patched = call(self.policies.patch(name, &params, &Patch::Merge(patch))).await;
                patched.map(drop).map_err(refused_or_unknown)
            }
        }
    }
}
