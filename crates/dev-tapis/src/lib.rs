//! A small stand-in for the Tapis platform, for development and tests.
//!
//! It answers the calls that Pods, tapipy and a browser make of the real platform: sites, tenants with their public keys, the
//! Authenticator's tokens, profiles, log-in page and OAuth clients, service tokens, and the role look-up of the Security Kernel.
//! Passwords stand in a plain file and nothing is hardened: **never use it for anything but development.**
//!
//! What a running server and the `token` command share lives in files of the state directory (keys, granted roles, OAuth
//! clients) and is read again at every use, so a role granted by the command counts at once.

pub mod config;
mod in_process;
mod keys;
mod platform;
mod reply;
mod routes;
mod store;
pub mod tokens;

use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, web};

pub use config::Config;
pub use in_process::InProcess;
pub use keys::TenantKey;
pub use platform::Platform;

/// Starts the server on a socket that is bound already; the caller awaits (or spawns) the returned server.
///
/// # Errors
/// When the socket cannot be listened on.
pub fn serve(listener: TcpListener, platform: Platform) -> std::io::Result<Server> {
    let platform = web::Data::new(platform);
    let server = HttpServer::new(move || App::new().app_data(platform.clone()).configure(routes::configure))
        .workers(1)
        // The worker that makes a key reads nothing meanwhile, which on a busy machine takes seconds.
        .client_request_timeout(Duration::from_secs(60))
        .shutdown_timeout(1)
        .listen(listener)?
        .run();
    Ok(server)
}
