//! Wake-ups put into the stream by hand.

use std::time::{Duration, SystemTime};

use async_nats::jetstream;
use pods_messages::{Publisher, WakeUp};
use uuid::Uuid;

use crate::{
    env::Env,
    wait::{LIMIT, await_condition},
};

/// The stream of the environment.
pub struct WakeUps {
    publisher: Publisher,
    jetstream: jetstream::Context,
    stream: String,
}

impl WakeUps {
    /// Connects to the broker.
    pub async fn connect(env: &Env) -> Self {
        let broker = pods_messages::connect(&env.nats_url, "integration-tests")
            .await
            .expect("the address of NATS is one");
        let stream = broker.stream(&env.stream, &env.site_id).expect("the stream has a valid name");
        let client = async_nats::connect(&env.nats_url).await.expect("NATS answers");
        Self { publisher: stream.publisher(), jetstream: jetstream::new(client), stream: env.stream.clone() }
    }

    /// Sends one wake-up for each reason, in this order.
    pub async fn send(&self, uid: Uuid, reasons: &[&str]) {
        for reason in reasons {
            let message = Uuid::new_v4().to_string();
            let wake_up = WakeUp::new(uid, reason, &message, SystemTime::now());
            await_condition("NATS stores a wake-up", Duration::from_secs(20), || async {
                self.publisher.publish(&wake_up, &message).await.map_err(|error| format!("{error:?}"))
            })
            .await;
        }
    }

    /// Sends one wake-up; `false` when NATS does not take it now.
    pub async fn try_send(&self, uid: Uuid, reason: &str) -> bool {
        let message = Uuid::new_v4().to_string();
        let wake_up = WakeUp::new(uid, reason, &message, SystemTime::now());
        self.publisher.publish(&wake_up, &message).await.is_ok()
    }

    /// Waits until the spawner has dealt with everything that is in the stream.
    pub async fn await_none_left(&self) {
        await_condition("every wake-up is dealt with", LIMIT, || async {
            let mut stream =
                self.jetstream.get_stream(&self.stream).await.map_err(|error| error.to_string())?;
            match stream.info().await {
                Ok(info) if info.state.messages == 0 => Ok(()),
                Ok(info) => Err(format!("{} wake-ups wait", info.state.messages)),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }
}
