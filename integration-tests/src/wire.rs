//! Connections to pods that stay: TLS with the proxy, and inside of it whatever the test speaks.

use std::{io, sync::Arc, time::Duration};

use futures::{SinkExt, StreamExt};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{ClientRequestBuilder, Error, Message, http::Uri},
};

use crate::env::Env;

/// What is waited for comes within this time.
const LIMIT: Duration = Duration::from_secs(30);

/// A TLS connection to a port of this machine, for one host.
#[derive(Debug)]
pub struct Wire {
    stream: TlsStream<TcpStream>,
    host: String,
    /// What was read and not yet asked for.
    read: Vec<u8>,
}

impl Wire {
    /// Connects to this port of the machine; the certificate must be `host`'s and of the environment's authority.
    ///
    /// # Errors
    /// When the proxy does not take the connection.
    pub async fn connect(env: &Env, port: u16, host: &str) -> io::Result<Self> {
        Self::connect_to(env, ("127.0.0.1", port), host).await
    }

    /// The same with an address of one's choice.
    ///
    /// # Errors
    /// When the proxy does not take the connection.
    pub async fn connect_to(env: &Env, address: impl ToSocketAddrs, host: &str) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let authority =
            CertificateDer::from_pem_file(&env.ca_file).expect("the environment has an authority");
        roots.add(authority).expect("the authority is a certificate");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).expect("a host is a name");
        let stream = TcpStream::connect(address).await?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Self { stream, host: host.to_owned(), read: Vec::new() })
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the connection stands");
        self.stream.flush().await.expect("the connection stands");
    }

    /// Sends a `GET` over HTTP/1.1.
    pub async fn ask(&mut self, path: &str) {
        self.ask_with(path, &[]).await;
    }

    /// The same with more headers.
    pub async fn ask_with(&mut self, path: &str, headers: &[(&str, &str)]) {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        request.push_str("\r\n");
        self.send(request.as_bytes()).await;
    }

    /// Everything up to and with `text`, which comes in time.
    pub async fn until(&mut self, text: &str) -> String {
        let found = timeout(LIMIT, async {
            loop {
                let at = self.read.windows(text.len()).position(|part| part == text.as_bytes());
                if let Some(at) = at {
                    return self.read.drain(..at + text.len()).collect::<Vec<u8>>();
                }
                let count = self.stream.read_buf(&mut self.read).await.expect("the connection stands");
                assert_ne!(count, 0, "the connection ended before {text:?} came");
            }
        });
        let found = found.await.unwrap_or_else(|_| panic!("{text:?} does not come within {LIMIT:?}"));
        String::from_utf8_lossy(&found).into_owned()
    }

    /// Sends a line and waits until it comes back.
    pub async fn echo(&mut self, line: &str) {
        self.send(line.as_bytes()).await;
        assert_eq!(self.until(line).await, line);
    }

    /// Waits until the other side ends the connection.
    pub async fn ended(&mut self, limit: Duration) {
        let mut rest = Vec::new();
        let end = timeout(limit, self.stream.read_to_end(&mut rest)).await;
        // Some servers close without the goodbye of TLS.
        let _end = end.unwrap_or_else(|_| panic!("the connection is still open after {limit:?}"));
        assert_eq!(String::from_utf8_lossy(&rest), "", "nothing more was to come");
    }
}

/// A WebSocket through the proxy.
pub struct Socket(WebSocketStream<TlsStream<TcpStream>>);

impl Socket {
    /// Opens it.
    ///
    /// # Errors
    /// The status code of a refusal.
    pub async fn open(wire: Wire, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let address = format!("wss://{}{path}", wire.host);
        let address: Uri = address.parse().expect("host and path are an address");
        let request = headers.iter().fold(ClientRequestBuilder::new(address), |request, (name, value)| {
            request.with_header(*name, *value)
        });
        match tokio_tungstenite::client_async(request, wire.stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("no WebSocket at {}: {error}", wire.host),
        }
    }

    /// Sends a text and answers the next one that comes.
    pub async fn ask(&mut self, text: &str) -> String {
        self.0.send(Message::text(text)).await.expect("the WebSocket stands");
        let answer = timeout(LIMIT, async {
            loop {
                match self.0.next().await.expect("the WebSocket stands").expect("the WebSocket stands") {
                    Message::Text(text) => return text.as_str().to_owned(),
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => panic!("the WebSocket brought {other:?}"),
                }
            }
        });
        answer.await.expect("an answer comes in time")
    }

    /// Sends a text and waits until it comes back.
    pub async fn echo(&mut self, text: &str) {
        assert_eq!(self.ask(text).await, text);
    }

    /// Says goodbye and waits until the other side does.
    pub async fn close(mut self) {
        self.0.close(None).await.expect("the WebSocket stands");
        let end = timeout(LIMIT, async { while let Some(Ok(_)) = self.0.next().await {} });
        end.await.expect("the WebSocket ends in time");
    }
}
