//! Certificates that Traefik gets from an ACME server, because and as the document says; and that pods have routes
//! without them.

use std::net::SocketAddr;

use reqwest::Client;

use super::{pebble::Pebble, program::free_port, stage::Backstage, *};

/// Orders take some seconds.
const LIMIT: Duration = Duration::from_secs(60);
const DOMAIN: &str = "shop.example.com";

/// A running pod with one entry.
fn running(pod_id: &str, entry: Networking) -> RoutedPod {
    let entry = Networking { url: host(pod_id), ..entry };
    RoutedPod {
        networking: BTreeMap::from([("default".to_owned(), entry)]),
        ..pod(pod_id, Status::Available)
    }
}

/// A web page that also has a domain of its owner's.
fn shop() -> RoutedPod {
    let custom_domain = DOMAIN.to_owned();
    running("shop", Networking { custom_domain, custom_domain_verified: true, ..Networking::default() })
}

/// A TCP entry, whose TLS ends at Traefik too.
fn data() -> RoutedPod {
    running("data", Networking { protocol: Protocol::Tcp, ..Networking::default() })
}

fn settings_with(hosts: &str, wildcard: bool, domains: &str) -> RoutingSettings {
    RoutingSettings {
        cert_resolver: Some(hosts.to_owned()),
        cert_wildcard: wildcard,
        domain_cert_resolver: Some(domains.to_owned()),
        ..settings()
    }
}

/// A visit that trusts `authority` alone, or everybody: what the pod said, or why there was no answer.
async fn visit(port: u16, host: &str, authority: Option<&reqwest::Certificate>) -> Result<String, String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let client = Client::builder().no_proxy().http1_only().resolve(host, address);
    let client = match authority {
        Some(authority) => client.tls_certs_only([authority.clone()]),
        None => client.danger_accept_invalid_certs(true),
    };
    let sent = client.build().unwrap().get(format!("https://{host}:{port}/a")).send().await;
    let answer = sent.map_err(|error| format!("{error:?}"))?;
    answer.text().await.map_err(|error| format!("{error:?}"))
}

/// Waits until the pod is reached by somebody who trusts `authority` alone.
async fn await_certificate(traefik: &Traefik, host: &str, authority: &reqwest::Certificate) {
    let begun = Instant::now();
    loop {
        match visit(traefik.websecure, host, Some(authority)).await {
            Ok(text) if text.starts_with("pod /a\n") => return,
            other => assert!(begun.elapsed() < LIMIT, "{host}: not within {LIMIT:?}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_host_and_each_domain_gets_a_certificate_of_its_own() {
    let ports = (free_port(), free_port());
    let pebble = Pebble::start(ports).await;
    let backstage = Backstage::new(settings_with("hosts", false, "domains"), &[shop(), data()]);
    let mut options = pebble.resolver("hosts", &["tlschallenge=true"]);
    options.extend(pebble.resolver("domains", &["httpchallenge.entrypoint=web"]));
    let traefik = Traefik::start_with(&backstage.endpoint(), ports, &options, &[]);
    let authority = pebble.authority().await;
    for name in [host("shop"), DOMAIN.to_owned(), host("data")] {
        await_certificate(&traefik, &name, &authority).await;
    }
    // The authority is not believed for hosts that nobody asked it about.
    assert!(visit(traefik.websecure, &host("nobody"), Some(&authority)).await.is_err());
    assert_eq!(pebble.challenged(), Vec::<String>::new(), "no record was needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_wildcard_serves_all_pods_of_a_tenant() {
    let ports = (free_port(), free_port());
    let pebble = Pebble::start(ports).await;
    let mut backstage = Backstage::new(settings_with("wildcard", true, "domains"), &[shop(), data()]);
    let mut options = pebble.dns_resolver("wildcard");
    options.extend(pebble.resolver("domains", &["tlschallenge=true"]));
    let traefik = Traefik::start_with(&backstage.endpoint(), ports, &options, &pebble.environment());
    let authority = pebble.authority().await;
    for name in [host("shop"), host("data"), DOMAIN.to_owned()] {
        await_certificate(&traefik, &name, &authority).await;
    }
    // A pod that comes later is covered already.
    backstage.set(&[running("late", Networking::default())]);
    await_certificate(&traefik, &host("late"), &authority).await;
    assert_eq!(pebble.challenged(), ["_acme-challenge.pods.dev.example.org."], "one order for the tenant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_certificates_pods_are_routed_all_the_same() {
    let backstage = Backstage::new(settings_with("away", false, "unheard-of"), &[shop(), data()]);
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let options = [
        format!("caserver=https://127.0.0.1:{}/dir", free_port()),
        format!("storage={}", folder.path().join("acme.json").display()),
        "tlschallenge=true".to_owned(),
    ]
    .map(|option| format!("--certificatesresolvers.away.acme.{option}"));
    let ports = (free_port(), free_port());
    let traefik = Traefik::start_with(&backstage.endpoint(), ports, &options, &[]);
    for name in [host("shop"), DOMAIN.to_owned(), host("data")] {
        let begun = Instant::now();
        loop {
            match visit(traefik.websecure, &name, None).await {
                Ok(text) if text.starts_with("pod /a\n") => break,
                other => assert!(begun.elapsed() < LIMIT, "{name}: not within {LIMIT:?}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
