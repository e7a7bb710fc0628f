//! Whether the API answers: a visitor who cannot get to the end of a login is not sent to its beginning.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use pods_runtime::shutdown::CancellationToken;

use super::Logins;

const INTERVAL: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(3);

/// The API as it was last seen.
pub(super) struct ApiProbe {
    client: reqwest::Client,
    url: String,
    answers: AtomicBool,
    /// The last answer did not come in time.
    late: AtomicBool,
}

impl ApiProbe {
    /// Of the API at this address, which counts as well until it was asked.
    pub fn new(api_url: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(LIMIT).no_proxy().build();
        Ok(Self {
            client: client.context("no HTTP client for the API can be made")?,
            url: format!("{}/v3/pods/healthcheck", api_url.trim_end_matches('/')),
            answers: AtomicBool::new(true),
            late: AtomicBool::new(false),
        })
    }

    pub fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    pub async fn ask(&self) {
        let answer = self.client.get(&self.url).send().await;
        let late = answer.as_ref().is_err_and(reqwest::Error::is_timeout);
        // Who is late once may be busy; twice in a row is as good as away.
        if late && !self.late.swap(true, Ordering::Relaxed) {
            return;
        }
        self.late.store(late, Ordering::Relaxed);
        let answers = answer.is_ok_and(|answer| answer.status().is_success());
        match (self.answers.swap(answers, Ordering::Relaxed), answers) {
            (true, false) => tracing::warn!("the API does not answer; nobody can log in until it does"),
            (false, true) => tracing::info!("the API answers again"),
            (true, true) | (false, false) => {}
        }
    }
}

/// Asks for ever.
pub(super) async fn run(logins: Arc<Logins>, shutdown: CancellationToken) -> anyhow::Result<()> {
    loop {
        logins.api.ask().await;
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
