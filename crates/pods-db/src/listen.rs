//! `LISTEN` on a channel: wakes a loop that would otherwise poll.

use std::{future::poll_fn, time::Duration};

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls};

const RETRY: Duration = Duration::from_secs(1);
/// Messages that may wait for their reader; then Postgres waits.
const WAITING: usize = 256;

/// What is heard on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A new connection listens; what was said before may have been missed.
    Connected,
    /// A notification's payload.
    Message(String),
}

/// A receiver that yields whenever `channel` is notified, several notifications merged into one. It also yields
/// after each new connection, because notifications may have been missed. Reconnects for ever; ends when the
/// receiver is dropped.
///
/// Waking is all it does: the receiver reads the tables, and a timer beside it finds what a lost notification
/// would have said.
pub fn notifications(url: &str, channel: &'static str) -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(1);
    let mut heard = messages(url, channel);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                notice = heard.recv() => match notice {
                    // A full channel means that a wake-up is pending already.
                    Some(_) => drop(sender.try_send(())),
                    None => return,
                },
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

/// The same with every payload.
pub fn messages(url: &str, channel: &'static str) -> mpsc::Receiver<Notice> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let url = url.to_owned();
    tokio::spawn(async move {
        let mut reported = false;
        while !sender.is_closed() {
            match listen(&url, channel, &sender).await {
                Ok(Ended::NobodyListens) => return,
                Ok(Ended::Disconnected) => {
                    reported = false;
                    tracing::debug!(channel, "the connection for notifications ended");
                }
                Err(error) if !reported => {
                    reported = true;
                    tracing::warn!(channel, error = %error, "no connection for notifications, trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    });
    receiver
}

/// Why listening ended.
enum Ended {
    NobodyListens,
    Disconnected,
}

/// Runs until the connection ends or the receiver is gone.
async fn listen(
    url: &str,
    channel: &str,
    sender: &mpsc::Sender<Notice>,
) -> Result<Ended, tokio_postgres::Error> {
    let (client, mut connection) = crate::patient(url)?.connect(NoTls).await?;
    let (notified, mut notifications) = mpsc::channel::<String>(WAITING);
    // The connection makes progress only while it is polled; the client's command waits for it.
    let driver = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(message) = message? {
                let _nobody = notified.send(message.payload().to_owned()).await;
            }
        }
        Ok(Ended::Disconnected)
    };
    let forward = async {
        client.batch_execute(&format!("LISTEN {channel}")).await?;
        let _nobody = sender.send(Notice::Connected).await;
        loop {
            tokio::select! {
                Some(payload) = notifications.recv() => {
                    let _nobody = sender.send(Notice::Message(payload)).await;
                }
                () = sender.closed() => return Ok(Ended::NobodyListens),
            }
        }
    };
    tokio::select! {
        ended = driver => ended,
        done = forward => done,
    }
}
