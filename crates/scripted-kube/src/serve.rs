//! The cluster behind a socket.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use http_body_util::BodyExt;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::{Broken, Cluster};

/// Largest body of a request.
const BODY_MAX: usize = 512 * 1024 * 1024;

/// Serves a cluster for ever.
pub async fn serve(cluster: Cluster, listener: TcpListener) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(cluster.clone(), stream))),
            // Out of file descriptors, most likely.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(cluster: Cluster, stream: TcpStream) {
    // An answer is small and waited for.
    let _best_effort = stream.set_nodelay(true);
    let mut reachable = cluster.shared.reachable.subscribe();
    // Of the control and of the API both; who breaks off does so by the answer.
    let cut = async move {
        let _ = reachable.wait_for(|reachable| *reachable).await;
        let _ = reachable.wait_for(|reachable| !reachable).await;
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let cluster = cluster.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = http_body_util::Limited::new(body, BODY_MAX).collect().await.map_err(|_| Broken)?;
            cluster.answer(&parts, body.to_bytes()).await
        }
    });
    // A small buffer: thousands of connections are logs that are followed, and say nothing.
    let mut server = http1::Builder::new();
    let serving =
        server.half_close(false).max_buf_size(16 * 1024).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        () = cut => {}
    }
}

/// A kubeconfig for a server at this address.
pub fn kubeconfig(address: SocketAddr, namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: scripted\n\
         clusters: [{{ name: scripted, cluster: {{ server: \"http://{address}\" }} }}]\n\
         contexts: [{{ name: scripted, context: {{ cluster: scripted, user: scripted, namespace: {namespace} }} }}]\n\
         users: [{{ name: scripted, user: {{}} }}]\n"
    )
}
