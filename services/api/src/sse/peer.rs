//! The client at the other end of a connection: whether it is still there, and whether it still reads.

use std::{any::Any, io, net::TcpStream, os::fd::AsFd, sync::Arc, time::Duration};

use actix_web::dev::Extensions;

/// A second handle of the connection's socket; what is read and written goes through the server's own.
#[derive(Debug, Clone)]
pub struct Peer(Arc<TcpStream>);

impl Peer {
    /// Whether the client has closed the connection. The server allows requests from clients that have closed their
    /// half of it, so it does not end a stream by itself before a write fails, two heartbeats later.
    pub(super) fn is_gone(&self) -> bool {
        match self.0.peek(&mut [0]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }
}

/// Notes the peer of a new connection, for the requests on it. When the peer leaves unread what was sent to it for longer
/// than `unread`, the kernel gives the connection up.
pub fn on_connect(connection: &dyn Any, data: &mut Extensions, unread: Duration) {
    let Some(socket) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    let limit = u32::try_from(unread.as_millis()).unwrap_or(u32::MAX);
    // Without these a stream ends later, which is no reason to refuse the connection.
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(socket, limit) {
        tracing::debug!(%error, "a connection has no limit for unread data");
    }
    if let Ok(handle) = socket.as_fd().try_clone_to_owned() {
        data.insert(Peer(Arc::new(TcpStream::from(handle))));
    }
}
