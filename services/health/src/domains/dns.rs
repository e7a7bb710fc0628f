//! Asks DNS for the record of a domain.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, rdata::TXT},
    },
};
use pods_core::domains::{Answer, record_name};

const DNS_PORT: u16 = 53;
/// Times that each server is asked.
const ATTEMPTS: usize = 2;

/// Asks some servers, and remembers nothing: what a user has changed is seen as soon as the servers see it.
pub struct Resolver {
    resolver: TokioResolver,
    timeout: Duration,
}

impl Resolver {
    /// A resolver that asks `servers`, or those of the machine when there are none.
    ///
    /// # Errors
    /// A sentence about the server that is no address, or about the machine's own configuration.
    pub fn new(servers: &[String], timeout: Duration) -> anyhow::Result<Self> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().context("the DNS servers of this machine cannot be read")?
        } else {
            let servers = servers.iter().map(|text| server(text)).collect::<anyhow::Result<Vec<_>>>()?;
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = timeout;
        options.attempts = ATTEMPTS;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.try_tcp_on_error = true;
        let resolver = builder.build().context("the resolver of custom domains cannot be made")?;
        Ok(Self { resolver, timeout })
    }

    /// How long a question may take in all. There may be any number of servers, each asked again and over TCP: one
    /// domain must not hold up the others for long, the less so when nothing depends on the answer yet.
    pub fn patience(&self, held: bool) -> Duration {
        self.timeout.saturating_mul(if held { 4 } else { 2 })
    }

    /// The pods that the record of a domain names.
    pub async fn ask(&self, domain: &str) -> Answer {
        self.ask_within(domain, self.patience(true)).await
    }

    /// The same when not more than `limit` shall be waited for the answer.
    pub async fn ask_within(&self, domain: &str, limit: Duration) -> Answer {
        // With the final dot: no search list of the machine may lead to another name.
        let Ok(name) = Name::from_ascii(format!("{}.", record_name(domain))) else {
            return Answer::Names([].into());
        };
        let lookup = match tokio::time::timeout(limit, self.resolver.txt_lookup(name)).await {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(error)) if says_no(&error) => return Answer::Names([].into()),
            Ok(Err(error)) => {
                tracing::debug!(domain, %error, "DNS has no answer about a custom domain");
                return Answer::Nothing;
            }
            Err(_) => return Answer::Nothing,
        };
        let texts: Vec<String> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::TXT(txt) => Some(text(txt)),
                _ => None,
            })
            .collect();
        // An answer without any text says neither yes nor no, for example an alias that leads nowhere.
        if texts.is_empty() { Answer::Nothing } else { Answer::of_texts(texts) }
    }
}

/// Only these are a "no"; everything else may be another tomorrow without anybody's doing.
fn says_no(error: &NetError) -> bool {
    matches!(
        error,
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NXDomain | ResponseCode::NoError,
            ..
        }))
    )
}

/// The pieces of a record are one text.
fn text(txt: &TXT) -> String {
    txt.txt_data.iter().map(|piece| String::from_utf8_lossy(piece)).collect()
}

fn server(text: &str) -> anyhow::Result<NameServerConfig> {
    let address = text
        .parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)))
        .with_context(|| format!("[domains] servers: \"{text}\" is neither an address nor address:port"))?;
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut config.connections {
        connection.port = address.port();
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses() {
        for (text, port) in [("10.0.0.2", 53), ("127.0.0.1:5353", 5353), ("::1", 53), ("[::1]:54", 54)] {
            let config = server(text).unwrap();
            assert!(config.connections.iter().all(|connection| connection.port == port), "{text}");
        }
        for bad in ["", "dns.example.org", "10.0.0.2:", "10.0.0.2:port"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pieces_of_a_text_belong_together() {
        let txt = TXT::new(vec!["pod-".to_owned(), "uid=x".to_owned()]);
        assert_eq!(text(&txt), "pod-uid=x");
    }
}
