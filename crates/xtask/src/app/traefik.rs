//! Traefik in front of the profile: plain HTTP and TLS, routes from the edge process and a few fixed ones.

use std::fs;

use anyhow::Result;

use super::{Profile, Shared, TENANTS, text};
use crate::infra::kube::GATEWAY;
use crate::infra::pki::Authority;
use crate::paths::Ctx;
use crate::proc::{Ready, Spec, write_if_changed};

/// The certificate authority that browsers and curl are to trust.
pub fn authority(ctx: &Ctx) -> Result<Authority> {
    Authority::open(ctx.dev.join("tls"), "Pods development CA")
}

/// The program with its files.
pub fn spec(ctx: &Ctx, profile: &Profile, shared: &Shared) -> Result<Spec> {
    let names: Vec<String> = TENANTS
        .iter()
        .flat_map(|tenant| {
            let host = format!("{tenant}.localhost");
            [format!("DNS:*.pods.{host}"), format!("DNS:pods.{host}"), format!("DNS:{host}")]
        })
        .chain(["DNS:localhost".to_owned()])
        .collect();
    let pair = authority(ctx)?.issue("server", "/CN=Pods development", &names)?;
    let dir = profile.dir.join("traefik");
    let fixed = dir.join("fixed/fixed.yaml");
    write_if_changed(&fixed, &routes(profile, &text(&pair.cert), &text(&pair.key)))?;
    let settings = dir.join("traefik.yaml");
    let (web, websecure) = (profile.port("web"), profile.port("websecure"));
    // Traefik ends a request by itself whose body takes longer than a minute to arrive.
    let timeouts = "transport: { respondingTimeouts: { readTimeout: 0s, idleTimeout: 3600s } }";
    // Programs in the manner of CGI cannot tell X_Forwarded_For or X.Forwarded.For from what Traefik writes.
    let headers = "http: { aliasHeadersStrategy: delete }";
    write_if_changed(
        &settings,
        &format!(
            "# Written by cargo xtask up.\nglobal: {{ checkNewVersion: false, sendAnonymousUsage: false }}\n\
             log: {{ level: INFO }}\n\
             entryPoints:\n\
             \x20 web: {{ address: \":{}\", {timeouts}, {headers} }}\n\
             \x20 websecure: {{ address: \":{}\", {timeouts}, {headers} }}\n\
             providers:\n  providersThrottleDuration: 100ms\n\
             \x20 http: {{ endpoint: \"{}/traefik-config\", pollInterval: 500ms, pollTimeout: 5s }}\n\
             \x20 file: {{ directory: {:?}, watch: true }}\n",
            web.number,
            websecure.number,
            profile.local_url("edge"),
            text(&dir.join("fixed")),
        ),
    )?;
    let program = text(&shared.tools.join("traefik"));
    let option = format!("--configfile={}", text(&settings));
    let spec = if shared.cluster.is_some() {
        // Names of the cluster are asked of the cluster's DNS server: Traefik alone sees another resolv.conf, in a
        // mount namespace that ends with it.
        let resolv = dir.join("resolv.conf");
        fs::write(&resolv, format!("nameserver {GATEWAY}\noptions timeout:1 attempts:3\n"))?;
        let script = r#"mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@""#;
        let argv = ["unshare", "--mount", "sh", "-c", script, &text(&resolv), &program, &option];
        Spec::new("traefik", &profile.logs(), argv)
    } else {
        Spec::new("traefik", &profile.logs(), [program.as_str(), &option])
    };
    Ok(spec
        .ready(Ready::Tcp(([127, 0, 0, 1], web.number).into()))
        .port(&web)
        .port(&websecure)
        .depends_on(&[&settings, &shared.tools.join("traefik")]))
}

/// The paths of the pretended platform on the tenants' hosts, and the certificate.
fn routes(profile: &Profile, cert: &str, key: &str) -> String {
    let hosts: Vec<String> = TENANTS.iter().map(|tenant| format!("Host(`{tenant}.localhost`)")).collect();
    let paths: Vec<String> = ["tenants", "sites", "oauth2", "tokens", "security", "profiles"]
        .iter()
        .map(|path| format!("PathPrefix(`/v3/{path}`)"))
        .collect();
    let rule = format!("({}) && ({})", hosts.join(" || "), paths.join(" || "));
    format!(
        "# Written by cargo xtask up.\nhttp:\n  routers:\n\
         \x20   dev-tapis: {{ rule: \"{rule}\", entryPoints: [web], service: dev-tapis, priority: 1000000 }}\n\
         \x20   dev-tapis-tls: {{ rule: \"{rule}\", entryPoints: [websecure], service: dev-tapis, priority: 1000000, tls: {{}} }}\n\
         \x20 services:\n    dev-tapis: {{ loadBalancer: {{ servers: [{{ url: \"{}\" }}] }} }}\n\
         tls:\n  certificates:\n    - {{ certFile: {cert:?}, keyFile: {key:?} }}\n\
         \x20 stores:\n    default: {{ defaultCertificate: {{ certFile: {cert:?}, keyFile: {key:?} }} }}\n",
        profile.local_url("dev-tapis"),
    )
}
