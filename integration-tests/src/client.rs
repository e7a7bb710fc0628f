//! HTTP clients that reach the environment as its visitors do. They follow no redirect by themselves.

use std::net::SocketAddr;

use reqwest::{Certificate, Client, ClientBuilder, redirect::Policy};

use crate::env::Env;

/// One that trusts the environment's authority.
pub fn trusting(env: &Env) -> ClientBuilder {
    let ca = std::fs::read(&env.ca_file).expect("the environment has an authority");
    let ca = Certificate::from_pem(&ca).expect("the authority is a certificate");
    base().tls_certs_merge([ca])
}

/// One that finds the environment's proxy at a domain, which has no certificate for it.
pub fn of_domain(domain: &str) -> ClientBuilder {
    // The port is the one of the URL.
    let proxy = SocketAddr::from(([127, 0, 0, 1], 0));
    base().resolve(domain, proxy).danger_accept_invalid_certs(true)
}

fn base() -> ClientBuilder {
    Client::builder().no_proxy().redirect(Policy::none())
}
