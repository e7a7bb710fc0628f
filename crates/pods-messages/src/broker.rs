//! The connection to NATS: made lazily, kept for ever.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{ConnectOptions, Event, ServerAddr};
use percent_encoding::percent_decode_str;
use tokio::sync::watch;

use crate::metrics;
use crate::stream::{Stream, StreamError};

/// How long one request to the broker may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// The address of the broker cannot be used. That the broker does not answer is not an error.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not a NATS address. It is not repeated here, for it may hold a password.
    #[error("the address of NATS is not valid; write nats://host:port or tls://user:password@host:port")]
    Address,
    /// The client refuses the address or its options.
    #[error("the NATS client cannot be set up")]
    Client(#[source] async_nats::ConnectError),
}

/// What became of the connection; `connections` counts how often it was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    pub(crate) connected: bool,
    pub(crate) connections: u64,
    pub(crate) problem: Option<String>,
}

/// A connection to NATS that is made again whenever it breaks. Clones share it.
#[derive(Clone)]
pub struct Broker {
    pub(crate) client: async_nats::Client,
    pub(crate) context: async_nats::jetstream::Context,
    pub(crate) link: watch::Receiver<Link>,
}

/// Prepares a connection; it is made in the background, now or when the broker is there. Several servers of one
/// cluster are separated by commas. `client_name` is what the broker's own tools show.
pub async fn connect(url: &str, client_name: &str) -> Result<Broker, ConnectError> {
    let servers = url
        .split(',')
        .map(|server| server.trim().parse::<ServerAddr>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| ConnectError::Address)?;
    let (sender, link) = watch::channel(Link::default());
    let sender = Arc::new(sender);
    let mut options = ConnectOptions::new()
        .name(client_name)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(REQUEST_TIMEOUT)
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            let sender = Arc::clone(&sender);
            async move { note(&sender, event) }
        });
    // The client itself does not look at the user and the password of an address.
    if let Some(server) = servers.iter().find(|server| server.has_user_pass()) {
        let user = decoded(server.username())?;
        options = match server.password() {
            Some(password) => options.user_and_password(user, decoded(Some(password))?),
            None => options.token(user),
        };
    }
    let client = options.connect(servers).await.map_err(ConnectError::Client)?;
    let context =
        async_nats::jetstream::context::ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client.clone());
    Ok(Broker { client, context, link })
}

impl Broker {
    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Why there is no connection, if there is none and the reason is known.
    pub fn problem(&self) -> Option<String> {
        if self.is_connected() { None } else { self.link.borrow().problem.clone() }
    }

    /// The stream of an installation, as seen by one site. Nothing is asked of the broker yet.
    pub fn stream(&self, name: &str, site: &str) -> Result<Stream, StreamError> {
        Stream::new(self.clone(), name, site)
    }

    /// Waits until what was sent so far has left the process, for at most two seconds. For the end of a process.
    pub async fn flush(&self) {
        if self.is_connected() {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.client.flush()).await;
        }
    }
}

fn decoded(text: Option<&str>) -> Result<String, ConnectError> {
    let text = percent_decode_str(text.unwrap_or_default()).decode_utf8();
    text.map(String::from).map_err(|_| ConnectError::Address)
}

fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(5);
    (Duration::from_millis(100) * 2u32.pow(doublings)).min(LONGEST_RECONNECT_DELAY)
}

/// Keeps what is known of the connection and logs changes only: an outage of a day is two lines.
fn note(sender: &watch::Sender<Link>, event: Event) {
    sender.send_if_modified(|link| match event {
        Event::Connected => {
            tracing::info!("connected to NATS");
            link.connected = true;
            metrics::connected(true);
            link.connections += 1;
            link.problem = None;
            true
        }
        Event::Disconnected | Event::Closed => {
            if link.connected {
                tracing::warn!("the connection to NATS is lost; it is tried again until it stands");
            }
            link.connected = false;
            metrics::connected(false);
            true
        }
        Event::ClientError(error) => {
            let problem = error.to_string();
            let news = !link.connected && link.problem.as_ref() != Some(&problem);
            if news {
                tracing::warn!(error = problem, "NATS cannot be reached; it is tried again until it can");
                link.problem = Some(problem);
            }
            news
        }
        Event::ServerError(error) => {
            tracing::warn!(error = error.to_string(), "NATS reports an error");
            link.problem = Some(error.to_string());
            true
        }
        other => {
            tracing::info!(event = other.to_string(), "NATS connection event");
            false
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnecting_slows_down_to_two_seconds() {
        let delays: Vec<_> = [0, 1, 2, 3, 5, 6, 1_000_000].map(|n| reconnect_delay(n).as_millis()).into();
        assert_eq!(delays, [100, 100, 200, 400, 1600, 2000, 2000]);
    }

    #[tokio::test]
    async fn a_wrong_address_is_refused_without_repeating_it() {
        let Err(error) = connect("nats://u:hunter2@:no:port", "test").await else { panic!("accepted") };
        assert!(!error.to_string().contains("hunter2"));
    }
}
