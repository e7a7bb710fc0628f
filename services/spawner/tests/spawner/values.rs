//! The values of a start: credentials, placeholders, files.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use pods_core::{
    PodDefinition, Status, VolumeMount, credentials::Credentials, mount::MountKind, reason::Reason,
    transition::Event,
};
use pods_db::{action_logs, credentials as rows, pods::PodRow, testing};
use pods_messages::Outcome;
use uuid::Uuid;

use crate::stage::{Stage, credentials, keys, waits, worker};

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn mount(kind: MountKind) -> VolumeMount {
    VolumeMount { source_id: Some("data".to_owned()), ..VolumeMount::new(kind) }
}

/// A pod whose token is random.
fn with_token() -> PodDefinition {
    PodDefinition {
        secret_map: map(&[("TOKEN", "${pods:random:16}")]),
        environment_variables: map(&[("TOKEN", "${pods:secrets:TOKEN}")]),
        ..testing::definition()
    }
}

impl Stage {
    /// The values that the only Secret holds.
    fn secret(&self) -> BTreeMap<String, String> {
        let secrets = self.fake.objects("secrets");
        assert_eq!(secrets.len(), 1);
        let data = secrets[0]["data"].as_object().expect("a Secret has data").iter();
        let text = |value: &serde_json::Value| {
            let bytes =
                STANDARD.decode(value.as_str().expect("values are texts")).expect("values are base64");
            String::from_utf8(bytes).expect("these values are texts")
        };
        data.map(|(key, value)| (key.clone(), text(value))).collect()
    }

    async fn stored(&self, uid: Uuid) -> Option<rows::SealedCredentials> {
        rows::get(&mut *self.db.conn().await, uid).await.expect("the database answers")
    }

    async fn opened(&self, uid: Uuid, ids: &[&str]) -> Credentials {
        let stored = self.stored(uid).await.expect("the pod has credentials");
        pods_secrets::credentials::open(&keys(ids), uid, &stored.key_id, &stored.sealed).expect("they open")
    }

    async fn restart(&self, row: &PodRow) {
        let row = self.event(row.uid, Event::Restart).await;
        self.log_stored(&row).await;
        assert_eq!(self.look(row.uid).await, Outcome::Done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_carries_what_placeholders_stand_for() {
    let stage = Stage::new().await;
    let own = credentials("shop");
    let file = VolumeMount {
        config_content: Some("user=<<tapissecret_user_username>>".to_owned()),
        ..VolumeMount::new(MountKind::Ephemeral)
    };
    let definition = PodDefinition {
        arguments: Some(vec!["--password=<<TAPIS_user_password>>".to_owned()]),
        secret_map: map(&[("PORT", "${pods:default:5432:?Port}")]),
        environment_variables: map(&[("URL", "x://<<tapissecret_service_password>>:${pods:secrets:PORT}")]),
        volume_mounts: BTreeMap::from([("/etc/app.ini".to_owned(), Some(file))]),
        ..testing::definition()
    };
    let row = stage.pod_of("shop", definition, &own).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let expected = map(&[
        ("0.file", "user=shop"),
        ("PODS_SECRET_1", &own.user_password),
        ("URL", &format!("x://{}:5432", own.admin_password)),
    ]);
    assert_eq!(stage.secret(), expected);
    let pod = &stage.fake.objects("pods")[0]["spec"];
    assert_eq!(pod["containers"][0]["args"][0], "--password=$(PODS_SECRET_1)");
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/etc/app.ini");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_its_storage_or_secret_is_an_error_before_any_object_exists() {
    let mounts = |kind| BTreeMap::from([("/data".to_owned(), Some(mount(kind)))]);
    let storage = [MountKind::TapisVolume, MountKind::TapisSnapshot, MountKind::Pvc].map(|kind| {
        let definition = PodDefinition { volume_mounts: mounts(kind), ..testing::definition() };
        (definition, Reason::StorageUnavailable, "mount \"/data\"")
    });
    let secret =
        PodDefinition { secret_map: map(&[("PASS", "${secret:alice:dbpass}")]), ..testing::definition() };
    let required = PodDefinition { secret_map: map(&[("PASS", "${:?Password}")]), ..testing::definition() };
    let cases = storage.into_iter().chain([
        (secret, Reason::SecretUnavailable, "${secret:alice:dbpass}"),
        (required, Reason::SecretUnavailable, "secret_map key PASS needs a value (Password)"),
    ]);
    for (definition, reason, text) in cases {
        let stage = Stage::new().await;
        let row = stage.pod_of("shop", definition, &credentials("shop")).await;
        assert_eq!(stage.look(row.uid).await, Outcome::Done);
        let row = stage.row(row.uid).await;
        assert_eq!((row.status, row.status_container.code), (Status::Error, Some(reason)));
        let told = row.status_container.message.unwrap();
        assert!(told.contains(text), "{told}");
        assert!(stage.fake.writes().is_empty(), "{:?}", stage.fake.written());
        let lines = action_logs::list(&mut *stage.db.conn().await, row.uid).await.unwrap();
        assert!(lines.last().unwrap().contains("could not be started"), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_is_waited_for_and_told_and_never_becomes_an_error() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    for other in
        [worker(&stage.db, &stage.fake, &keys(&["k9"])), worker(&stage.db, &stage.fake, &wrong_key())]
    {
        assert!(waits(&other.look_at(row.uid, 1).await));
        let told = stage.row(row.uid).await;
        assert_eq!(
            (told.status, told.status_container.code),
            (Status::Requested, Some(Reason::KeysUnavailable))
        );
        let message = told.status_container.message.unwrap();
        assert!(!message.contains("k1") && !message.contains("k9"), "{message}");
        assert!(stage.fake.writes().is_empty());
    }
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let row = stage.row(row.uid).await;
    assert_eq!((row.status, row.status_container.code), (Status::Spawning, Some(Reason::Starting)));
}

/// The right id with other bytes.
fn wrong_key() -> pods_secrets::KeyRing {
    pods_secrets::KeyRing::parse([("k1".to_owned(), "ff".repeat(32).into())]).expect("it is a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_value_is_made_once_and_stays() {
    let stage = Stage::new().await;
    stage.fake.autopilot();
    let row = stage.pod_of("shop", with_token(), &credentials("shop")).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let first = stage.secret()["TOKEN"].clone();
    assert_eq!(first.len(), 16);
    assert_eq!(stage.opened(row.uid, &["k1"]).await.random["TOKEN"], first);
    let row = stage.event(row.uid, Event::Running).await;
    stage.restart(&row).await;
    assert_eq!(stage.secret()["TOKEN"], first);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_spawners_make_the_same_random_value() {
    let stage = Stage::new().await;
    let row = stage.pod_of("shop", with_token(), &credentials("shop")).await;
    // The second one begins when the first has stored the value and created the Secret, and then lost its answer.
    stage.fake.fail("POST", "secrets", 1, pods_kube::testing::Fault::AnswerLost);
    assert!(waits(&stage.look(row.uid).await));
    let first = stage.secret()["TOKEN"].clone();
    let other = worker(&stage.db, &stage.fake, &keys(&["k1"]));
    assert_eq!(other.look_at(row.uid, 1).await, Outcome::Done);
    assert_eq!(stage.secret()["TOKEN"], first);
    assert_eq!(stage.opened(row.uid, &["k1"]).await.random["TOKEN"], first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_from_before_there_were_credentials_gets_some() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    stage.sql("DELETE FROM pod_credentials").await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let made = stage.opened(row.uid, &["k1"]).await;
    assert_eq!((made.user_username.as_str(), made.user_password.len()), ("shop", 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_seals_with_the_current_key() {
    let stage = Stage::new().await;
    let own = credentials("shop");
    let row = stage.pod_of("shop", testing::definition(), &own).await;
    let rotated = worker(&stage.db, &stage.fake, &keys(&["k2", "k1"]));
    assert_eq!(rotated.look_at(row.uid, 1).await, Outcome::Done);
    assert_eq!(stage.stored(row.uid).await.unwrap().key_id, "k2");
    assert_eq!(stage.opened(row.uid, &["k2"]).await, own);
}
