//! Whether Pods get an empty volume: asked of the API server, unless the configuration says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::Client;
use pods_kube::{client::call, version::may_have_impatient_kubelets};
use pods_runtime::shutdown::CancellationToken;
use tracing::info;

use crate::config::ShutdownVolume;

const RETRY: Duration = Duration::from_secs(2);
/// A cluster may be updated while this process runs.
const AGAIN: Duration = Duration::from_secs(600);

/// On while Pods get the volume. Before anything is known they do: the volume does no harm, its absence may.
pub struct Switch {
    state: Arc<AtomicBool>,
    setting: ShutdownVolume,
}

impl Switch {
    /// As the configuration says.
    pub fn new(setting: ShutdownVolume) -> Self {
        Self { state: Arc::new(AtomicBool::new(setting != ShutdownVolume::Never)), setting }
    }

    /// What the worker looks at.
    pub fn state(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.state)
    }

    /// Keeps the switch as the cluster needs it, for ever.
    ///
    /// # Errors
    /// Never; it ends when the token is cancelled.
    pub async fn run(self, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
        if self.setting != ShutdownVolume::Auto {
            shutdown.cancelled().await;
            return Ok(());
        }
        loop {
            let asked = tokio::select! {
                asked = call(client.apiserver_version()) => asked,
                () = shutdown.cancelled() => return Ok(()),
            };
            let wait = match asked {
                Ok(version) => {
                    let needed = may_have_impatient_kubelets(&version);
                    if self.state.swap(needed, Ordering::Relaxed) != needed {
                        info!(
                            kubernetes.version = version.git_version,
                            needed, "pods get a volume for their shutdown, or not"
                        );
                    }
                    AGAIN
                }
                Err(_) => RETRY,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }
}
