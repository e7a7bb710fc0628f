//! Registry credentials: who may name them, and whether they exist.

use std::collections::BTreeMap;

use pods_core::{Level, PodDefinition, Status, pull_secret, reason::Reason};
use pods_db::{
    permissions::{self, Object},
    pods::PodRow,
    testing,
};
use pods_messages::Outcome;
use serde_json::json;

use crate::stage::{Stage, credentials};

const SECRET: &str = "tapis-pods-imagepullsecret-carolatexampledotorg";
const USER: &str = "carol@example.org";

impl Stage {
    async fn private(&self) -> PodRow {
        let variable = (pull_secret::VARIABLE.to_owned(), USER.to_owned());
        let definition =
            PodDefinition { environment_variables: BTreeMap::from([variable]), ..testing::definition() };
        self.pod_of("shop", definition, &credentials("shop")).await
    }

    async fn grant(&self, row: &PodRow, user: &str, level: Level) {
        let conn = &mut *self.db.conn().await;
        permissions::grant(conn, Object::Pod(row.uid), user, level).await.expect("the database answers");
    }

    fn registry_secret(&self, kind: &str, key: &str) {
        self.fake.put(
            "secrets",
            json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "data": {key: "e30="},
                "metadata": {"name": SECRET, "namespace": "pods-test", "uid": "of-the-operator"}}),
        );
    }

    async fn refused(&self, row: &PodRow) -> String {
        assert_eq!(self.look(row.uid).await, Outcome::Done);
        let row = self.row(row.uid).await;
        assert_eq!((row.status, row.status_container.code), (Status::Error, Some(Reason::ImagePullSecret)));
        assert!(self.fake.writes().is_empty(), "{:?}", self.fake.written());
        row.status_container.message.expect("it says why")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_user_with_a_secret_pulls_the_image() {
    for (kind, key) in
        [("kubernetes.io/dockerconfigjson", ".dockerconfigjson"), ("kubernetes.io/dockercfg", ".dockercfg")]
    {
        let stage = Stage::new().await;
        let row = stage.private().await;
        // Not the first of the pod's permissions.
        stage.grant(&row, "dave", Level::User).await;
        stage.grant(&row, USER, Level::ApprovedAdmin).await;
        stage.registry_secret(kind, key);
        assert_eq!(stage.look(row.uid).await, Outcome::Done);
        let pod = &stage.fake.objects("pods")[0];
        assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": SECRET}]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_approved_pulls_nothing() {
    for level in [None, Some(Level::Read), Some(Level::Admin)] {
        let stage = Stage::new().await;
        let row = stage.private().await;
        if let Some(level) = level {
            stage.grant(&row, USER, level).await;
        }
        // Somebody else's approval does not count.
        stage.grant(&row, "dave", Level::ApprovedAdmin).await;
        stage.registry_secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
        let told = stage.refused(&row).await;
        assert!(
            told.contains("APPROVEDADMIN") && told.contains(USER) && told.contains("administrator"),
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_there_or_of_another_kind_is_the_operators_to_mend() {
    for (kind, expected) in
        [(None, "create the Kubernetes Secret"), (Some("Opaque"), "of type kubernetes.io")]
    {
        let stage = Stage::new().await;
        let row = stage.private().await;
        stage.grant(&row, USER, Level::ApprovedAdmin).await;
        if let Some(kind) = kind {
            stage.registry_secret(kind, ".dockerconfigjson");
        }
        let told = stage.refused(&row).await;
        assert!(told.contains(expected) && told.contains(SECRET) && told.contains("operator"), "{told}");
        let kept = stage.fake.objects("secrets").len();
        assert_eq!(kept, usize::from(kind.is_some()), "the operator's Secret is not ours to delete");
    }
}
