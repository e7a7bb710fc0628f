//! Whether the process can do its work: the three flags of `/readyz`.

use std::{future::Future, time::Duration};

use pods_db::Db;
use pods_messages::ConsumerState;
use pods_runtime::{
    internal_http::{Flag, Health},
    shutdown::CancellationToken,
};
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(5);

/// Keeps the flags true to what is, until the token is cancelled.
pub(crate) fn watch(
    health: &Health,
    mut consumer: watch::Receiver<ConsumerState>,
    db: Db,
    client: kube::Client,
    token: CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let nats = health.flag("nats");
    let database = health.flag("database");
    let kubernetes = health.flag("kubernetes");
    async move {
        let checks = async {
            loop {
                say(&nats, &consumer.borrow_and_update().clone());
                match db.get().await {
                    Ok(_) => database.ready(),
                    Err(error) => database.not_ready(error.to_string()),
                }
                match pods_kube::client::call(client.apiserver_version()).await {
                    Ok(_) => kubernetes.ready(),
                    Err(failure) => kubernetes.not_ready(failure.to_string()),
                }
                let _ = tokio::time::timeout(EVERY, async {
                    while consumer.changed().await.is_ok() {
                        say(&nats, &consumer.borrow_and_update().clone());
                    }
                    std::future::pending::<()>().await;
                })
                .await;
            }
        };
        tokio::select! {
            () = token.cancelled() => Ok(()),
            () = checks => Ok(()),
        }
    }
}

fn say(flag: &Flag, state: &ConsumerState) {
    match state {
        ConsumerState::Consuming => flag.ready(),
        ConsumerState::Connecting => flag.not_ready("connecting"),
        ConsumerState::Waiting(why) => flag.not_ready(why.clone()),
    }
}
