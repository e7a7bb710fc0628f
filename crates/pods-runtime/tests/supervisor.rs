//! How a process stops.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use pods_runtime::shutdown::Supervisor;

fn patient(supervisor: &mut Supervisor) {
    let token = supervisor.token();
    supervisor.spawn("patient", async move {
        token.cancelled().await;
        Ok(())
    });
}

#[tokio::test]
async fn a_requested_stop_is_a_success() {
    let mut supervisor = Supervisor::new();
    patient(&mut supervisor);
    let token = supervisor.token();
    token.cancel();
    supervisor.run().await.unwrap();
}

#[tokio::test]
async fn a_failing_a_panicking_and_a_quitting_task_stop_the_process_with_an_error() {
    let mut supervisor = Supervisor::new();
    patient(&mut supervisor);
    supervisor.spawn("failing", async { Err(anyhow!("no more")) });
    assert_eq!(format!("{:#}", supervisor.run().await.unwrap_err()), "the task `failing` failed: no more");

    let mut supervisor = Supervisor::new();
    patient(&mut supervisor);
    supervisor.spawn("panicking", async { panic!("on purpose") });
    let error = format!("{:#}", supervisor.run().await.unwrap_err());
    assert!(error.contains("`panicking`") && error.contains("on purpose"), "{error}");

    let mut supervisor = Supervisor::new();
    patient(&mut supervisor);
    supervisor.spawn("quitting", async { Ok(()) });
    assert!(supervisor.run().await.unwrap_err().to_string().contains("`quitting` ended although"));
}

#[tokio::test]
async fn draining_is_bounded_and_names_who_was_late() {
    let mut supervisor = Supervisor::new().with_drain(Duration::from_millis(100));
    patient(&mut supervisor);
    supervisor.spawn("deaf", std::future::pending());
    supervisor.token().cancel();
    let started = Instant::now();
    let error = supervisor.run().await.unwrap_err().to_string();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(error.contains("deaf") && !error.contains("patient"), "{error}");
}
