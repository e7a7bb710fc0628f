//! An ACME server: Debian's `pebble`, which believes what its own DNS server says.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::program::free_port;

/// Ends with the test, however that ends.
pub struct Pebble {
    children: Vec<Child>,
    folder: tempfile::TempDir,
    client: Client,
    acme: u16,
    management: u16,
    dns: u16,
    writer: Writer,
    writer_port: u16,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Writes records for DNS challenges, as Traefik's provider `httpreq` asks it to.
#[derive(Clone)]
struct Writer {
    client: Client,
    dns: String,
    /// Names for which a record was wanted.
    wanted: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

async fn write(request: HttpRequest, record: web::Json<Value>, writer: web::Data<Writer>) -> HttpResponse {
    let name = record["fqdn"].as_str().unwrap_or_default().to_owned();
    let (verb, body) = match request.path() {
        "/present" => ("set-txt", json!({ "host": name, "value": record["value"] })),
        _ => ("clear-txt", json!({ "host": name })),
    };
    if verb == "set-txt" {
        writer.wanted.lock().unwrap().push(name);
    }
    let answer = writer.client.post(format!("{}/{verb}", writer.dns)).json(&body).send().await;
    match answer {
        Ok(answer) if answer.status().is_success() => HttpResponse::Ok().finish(),
        _ => HttpResponse::BadGateway().finish(),
    }
}

fn run(command: &mut Command) -> Child {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.unwrap_or_else(|error| panic!("{program}: {error}; install Debian's package pebble"))
}

async fn listens(port: u16) {
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody listens on port {port} within 10 s");
}

impl Pebble {
    /// One that validates at these ports for plain HTTP and TLS. Every name is this machine.
    pub async fn start((web, websecure): (u16, u16)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::builder().no_proxy().danger_accept_invalid_certs(true).build().unwrap();
        let (acme, management, dns, records) = (free_port(), free_port(), free_port(), free_port());
        let (certificate, key) = (folder.path().join("acme.crt"), folder.path().join("acme.key"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=ACME", "-addext", "subjectAltName=IP:127.0.0.1"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "openssl makes a certificate");
        let config = folder.path().join("pebble.json");
        let settings = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{acme}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": certificate,
            "privateKey": key,
            "httpPort": web,
            "tlsPort": websecure,
        }});
        std::fs::write(&config, settings.to_string()).unwrap();
        let dns_address = format!("127.0.0.1:{dns}");
        let children = vec![
            run(Command::new("pebble-challtestsrv")
                .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", &dns_address])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-management", &format!("127.0.0.1:{records}")])),
            run(Command::new("pebble")
                .env("PEBBLE_VA_NOSLEEP", "1")
                .arg("-config")
                .arg(&config)
                .args(["-dnsserver", &dns_address])),
        ];
        let writer = Writer {
            client: client.clone(),
            dns: format!("http://127.0.0.1:{records}"),
            wanted: std::sync::Arc::default(),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let writer_port = listener.local_addr().unwrap().port();
        let data = web::Data::new(writer.clone());
        let server =
            HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::post().to(write)));
        tokio::spawn(server.workers(1).disable_signals().listen(listener).unwrap().run());
        let pebble = Self { children, folder, client, acme, management, dns, writer, writer_port };
        for port in [acme, management, records] {
            listens(port).await;
        }
        pebble
    }

    /// Options of Traefik for a certificate resolver that asks this server and proves hosts as `challenge` says.
    pub fn resolver(&self, name: &str, challenge: &[&str]) -> Vec<String> {
        let path = |file: &str| -> PathBuf { self.folder.path().join(file) };
        let mut options = vec![
            format!("caserver=https://127.0.0.1:{}/dir", self.acme),
            format!("cacertificates={}", path("acme.crt").display()),
            format!("storage={}", path(&format!("{name}.json")).display()),
            "email=operators@example.org".to_owned(),
            "keytype=EC256".to_owned(),
        ];
        options.extend(challenge.iter().map(|option| (*option).to_owned()));
        options.iter().map(|option| format!("--certificatesresolvers.{name}.acme.{option}")).collect()
    }

    /// The same with DNS challenges.
    pub fn dns_resolver(&self, name: &str) -> Vec<String> {
        let servers = format!("dnschallenge.resolvers=127.0.0.1:{}", self.dns);
        // The check asks servers that the zone names; this zone names none.
        let unchecked = "dnschallenge.propagation.disablechecks=true";
        self.resolver(name, &["dnschallenge.provider=httpreq", unchecked, &servers])
    }

    /// Environment of Traefik for DNS challenges.
    pub fn environment(&self) -> [(&'static str, String); 1] {
        [("HTTPREQ_ENDPOINT", format!("http://127.0.0.1:{}", self.writer_port))]
    }

    /// Names for which a DNS challenge was answered, in the order in which they were.
    pub fn challenged(&self) -> Vec<String> {
        self.writer.wanted.lock().unwrap().clone()
    }

    /// The authority that its certificates lead to.
    pub async fn authority(&self) -> reqwest::Certificate {
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let answer = self.client.get(url).send().await.unwrap();
        reqwest::Certificate::from_pem(&answer.bytes().await.unwrap()).unwrap()
    }
}
