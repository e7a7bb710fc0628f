//! The one thing we ask of JetStream ourselves: to delete a stream. A few lines of the text protocol do it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Deletes a stream; an absent one is fine.
pub fn delete_stream(url: &str, stream: &str) -> Result<()> {
    let address = url.trim_start_matches("nats://");
    if address.contains('@') {
        // A server with credentials is somebody else's; its streams are theirs to delete.
        return Ok(());
    }
    let mut socket = TcpStream::connect(address).with_context(|| format!("cannot reach NATS at {url}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        socket,
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"name\":\"xtask\",\"lang\":\"rust\",\"version\":\"1\",\
         \"protocol\":1}}\r\nSUB _INBOX.xtask 1\r\nPUB $JS.API.STREAM.DELETE.{stream} _INBOX.xtask 0\r\n\r\n"
    )?;
    let mut lines = BufReader::new(socket.try_clone()?).lines();
    for line in &mut lines {
        let line = line.context("NATS did not answer")?;
        if line.starts_with("PING") {
            socket.write_all(b"PONG\r\n")?;
        } else if line.starts_with("MSG ") {
            break;
        }
    }
    let answer = lines.next().context("NATS closed the connection")??;
    if answer.contains("\"success\":true") || answer.contains("10059") || answer.contains("not found") {
        return Ok(());
    }
    bail!("NATS does not delete the stream {stream}: {answer}")
}
