//! Distinctive values go through a start, a refusal and an outage, and are found in the Secret only.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use pods_core::{PodDefinition, Status, VolumeMount, mount::MountKind, transition::Event};
use pods_db::{action_logs, testing};
use pods_kube::testing::Fault;
use pods_messages::{Outcome, WakeUp};

use crate::stage::{Stage, credentials, waits};

/// What is looked for; base64 of it is looked for too.
const CANARY: &str = "quetzalcoatlus";

/// Everything that is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics here").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn capture() -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        let filter = pods_runtime::telemetry::filter("debug,pods_spawner=trace,kube_client=trace")
            .expect("the filter is one");
        let subscriber =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).expect("no other test of this process logs");
        lines
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no test panics here")).into_owned()
    }
}

fn value(name: &str) -> String {
    format!("{CANARY}-{name}")
}

fn definition() -> PodDefinition {
    let map = |entries: &[(&str, String)]| {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    let file = VolumeMount {
        config_content: Some(format!("{} ${{pods:secrets:LITERAL}}", value("file"))),
        ..VolumeMount::new(MountKind::Ephemeral)
    };
    PodDefinition {
        arguments: Some(vec!["<<tapissecret_user_password>>".to_owned()]),
        secret_map: map(&[("LITERAL", value("literal")), ("TOKEN", "${pods:random:32}".to_owned())]),
        environment_variables: map(&[
            ("A", value("environment")),
            ("B", "${pods:secrets:LITERAL} ${pods:secrets:TOKEN} <<TAPIS_admin_password>>".to_owned()),
        ]),
        volume_mounts: BTreeMap::from([("/etc/app.ini".to_owned(), Some(file))]),
        ..testing::definition()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_leaves_its_secret() {
    let lines = Lines::capture();
    let stage = Stage::new().await;
    let mut own = credentials("shop");
    own.user_password = value("user");
    own.admin_password = value("admin");
    own.random.insert("TOKEN".to_owned(), format!("{:x<32}", value("random")));

    // A start that works.
    let row = stage.pod_of("shop", definition(), &own).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let secret = stage.fake.objects("secrets")[0].to_string();
    assert!(stage.fake.objects("secrets").len() == 1 && secret.contains("data"));
    let mut seen =
        vec![stage.fake.objects("pods")[0].to_string(), stage.fake.objects("services")[0].to_string()];
    stage.event(row.uid, Event::Stop).await;
    stage.look(row.uid).await;

    // Starts that Kubernetes refuses, or does not manage, with an answer that quotes values.
    let quoting =
        format!("admission webhook denied the request: {} and {}", value("environment"), encoded("user"));
    for (code, reason, kind) in [
        (422, "Invalid", "secrets"),
        (400, "BadRequest", "pods"),
        (403, "Forbidden", "services"),
        (500, "InternalError", "secrets"),
    ] {
        let row = stage.pod_of(&format!("shop{code}"), definition(), &own).await;
        stage.fake.fail("POST", kind, 1, Fault::Status { code, reason, message: quoting.clone() });
        let outcome = stage.look(row.uid).await;
        let row = stage.row(row.uid).await;
        assert_eq!(waits(&outcome), row.status != Status::Error, "{code}");
        seen.push(serde_json::to_string(&row.status_container).unwrap());
        seen.push(action_logs::list(&mut *stage.db.conn().await, row.uid).await.unwrap().join("\n"));
        let message = WakeUp::new(row.uid, "canary", 1, std::time::SystemTime::now());
        seen.push(String::from_utf8_lossy(&message.to_bytes()).into_owned());
    }

    // A start that is impossible.
    let mut impossible = definition();
    impossible.secret_map.insert("C".to_owned(), format!("{} ${{secret:alice:x}}", value("part")));
    let row = stage.pod_of("shopx", impossible, &own).await;
    stage.look(row.uid).await;
    let row = stage.row(row.uid).await;
    assert_eq!(row.status, Status::Error);
    seen.push(serde_json::to_string(&row.status_container).unwrap());
    seen.push(action_logs::list(&mut *stage.db.conn().await, row.uid).await.unwrap().join("\n"));

    for table in ["outbox", "changes"] {
        let rows = stage.sql(&format!("SELECT t::text FROM {table} AS t")).await;
        assert!(!rows.is_empty());
        seen.extend(rows);
    }
    let log = lines.text();
    assert!(
        log.contains("the start was refused") && log.contains("objects created"),
        "the log was captured: {log}"
    );
    seen.push(log);
    for text in seen {
        assert!(!text.contains(CANARY), "{text}");
        assert!(!["user", "environment"].iter().any(|name| text.contains(&encoded(name))), "{text}");
    }
}

fn encoded(name: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(value(name))
}
