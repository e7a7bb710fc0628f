//! A gate between our processes and the API server of Kubernetes: it carries bytes, and cuts all connections when
//! somebody connects to its control port.

use std::collections::HashMap;
use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

type Open = Arc<Mutex<HashMap<u64, [TcpStream; 2]>>>;

/// Opens the gate; it stands until this program ends.
pub fn open(listen: u16, control: u16, target: u16) -> Result<()> {
    let bind =
        |port: u16| TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port} is taken"));
    let (listener, control) = (bind(listen)?, bind(control)?);
    let connections = Open::default();
    let all = Arc::clone(&connections);
    thread::spawn(move || {
        for _ in control.incoming().flatten() {
            cut(&all);
        }
    });
    thread::spawn(move || {
        for (number, client) in (0..).zip(listener.incoming().flatten()) {
            let connections = Arc::clone(&connections);
            thread::spawn(move || carry(client, target, number, &connections));
        }
    });
    Ok(())
}

fn cut(connections: &Open) {
    for [client, server] in connections.lock().unwrap_or_else(PoisonError::into_inner).values() {
        // One that is closed already needs no cutting.
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}

/// Carries one connection, both ways, to its end. While the target is away the client sees a connection that closes.
fn carry(client: TcpStream, target: u16, number: u64, connections: &Open) {
    let opened = || -> std::io::Result<[TcpStream; 4]> {
        let server = TcpStream::connect(("127.0.0.1", target))?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        Ok([client.try_clone()?, server.try_clone()?, client.try_clone()?, server])
    };
    let Ok([mut from_client, mut to_server, mut to_client, mut from_server]) = opened() else { return };
    if let (Ok(one), Ok(two)) = (client.try_clone(), from_server.try_clone()) {
        connections.lock().unwrap_or_else(PoisonError::into_inner).insert(number, [one, two]);
    }
    let back = thread::spawn(move || {
        let _ = copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = copy(&mut from_client, &mut to_server);
    let _ = to_server.shutdown(Shutdown::Both);
    let _ = back.join();
    connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn free() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn it_carries_both_ways_and_cuts_when_told() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let (listen, control) = (free(), free());
        open(listen, control, server.local_addr().unwrap().port()).unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", listen)).unwrap();
        client.write_all(b"ping").unwrap();
        let (mut behind, _) = server.accept().unwrap();
        let mut bytes = [0; 4];
        behind.read_exact(&mut bytes).unwrap();
        behind.write_all(b"pong").unwrap();
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"pong");
        TcpStream::connect(("127.0.0.1", control)).unwrap();
        assert_eq!(client.read(&mut bytes).unwrap(), 0, "the client sees the end");
        assert_eq!(behind.read(&mut bytes).unwrap(), 0, "the server too");
    }
}
