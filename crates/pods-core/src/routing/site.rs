//! The routes that exist without any pod, and the frame of the document.

use std::sync::Arc;

use super::{
    ERROR_HANDLER, Piece, RoutingSettings, VISITOR_PREFIX,
    document::{
        Errors, ForwardingTimeouts, Middleware, POD_TRANSPORT, Router, ServersTransport, Service, Tls, json,
    },
    fragment::NamedRouter,
    middlewares::Names,
    rules::{self, POD_HOSTS},
    sheet::Sheets,
};

/// The settings for TLS that the proxy ends in front of PostgreSQL.
pub(super) const POSTGRES_TLS: &str = "postgres";

/// The service of the edge.
pub(super) const EDGE: &str = "edge";

/// The service of the REST API.
const API: &str = "api";

/// Paths of the REST API on every host that is no pod's: a tenant that has no pod yet is not known here. The users' own
/// domains are kept away from it by [`Frame::of_domain`].
const API_PREFIXES: [&str; 4] = ["/v3/pods", "/v3/volumes", "/v3/snapshots", "/v3/healthcheck"];

/// What Traefik says when the API does not answer. The API itself answers with neither.
const UNANSWERED: [&str; 2] = ["502", "504"];

/// The way to a container is short: where nothing answers soon, as where a node is lost or does not know a Service yet,
/// it is better to try again (`retry`) than to wait for Traefik's 30 seconds. The rest is as Traefik has it.
const TO_PODS: ServersTransport = ServersTransport {
    max_idle_conns_per_host: 200,
    forwarding_timeouts: ForwardingTimeouts { dial_timeout: "2s", idle_conn_timeout: "90s" },
};

const API_PRIORITY: u32 = 900;
/// Before the API and after the pod.
const DOMAIN_PRIORITY: u32 = 950;
const CATCH_ALL_PRIORITY: u32 = 1;

/// What the names of a domain's routers end in that lead to the edge, without and with TLS.
pub(super) const DOMAIN_PAGES: [&str; 2] = ["--domain--page", "--domain--page-tls"];

/// The document's text around what belongs to pods.
#[derive(Debug)]
pub(super) struct Frame {
    middlewares: Piece,
    routers: Piece,
    services: Piece,
    http_end: Piece,
    tcp: Piece,
    tcp_with_middlewares: Piece,
    tcp_routers: Piece,
    tcp_services: Piece,
    tcp_end: Piece,
    end: Piece,
    /// Name of the middleware for visitors of the edge.
    visitor: Arc<str>,
    entry_points: [String; 2],
}

impl Frame {
    pub fn new(settings: &RoutingSettings, names: &mut Names) -> Self {
        let visitor = names.shared(&Middleware::AddPrefix { prefix: VISITOR_PREFIX.to_owned() });
        let query = format!("{ERROR_HANDLER}/{{status}}");
        let errors =
            names.shared(&Middleware::Errors(Errors { status: UNANSWERED, service: EDGE, query: &query }));
        let paths: Vec<String> =
            API_PREFIXES.iter().map(|prefix| format!("PathPrefix(`{prefix}`)")).collect();
        let api_rule = format!("({}) && !HostRegexp(`{POD_HOSTS}`)", paths.join(" || "));
        let router = |name: &str, service: &str, tls: bool| {
            let entry_point = if tls { &settings.entry_point_https } else { &settings.entry_point_http };
            let api = service == API;
            let router = Router {
                entry_points: [entry_point.as_str()],
                rule: if api { api_rule.clone() } else { "HostRegexp(`.*`)".to_owned() },
                service,
                middlewares: vec![if api { &*errors.name } else { &*visitor.name }],
                priority: if api { API_PRIORITY } else { CATCH_ALL_PRIORITY },
                tls: tls.then(Tls::default),
            };
            format!("\"{name}\":{}", json(&router))
        };
        let routers = [
            router("api", API, false),
            router("api-tls", API, true),
            router("catch-all", EDGE, false),
            router("catch-all-tls", EDGE, true),
        ];
        let service = |name: &str, url: &str| format!("\"{name}\":{}", json(&Service::internal(url)));
        let services = [service(API, &settings.api_url), service(EDGE, &settings.edge_url)];
        let piece = |text: &str| Piece::from(text.as_bytes());
        Self {
            middlewares: piece(&format!(
                "{{\"http\":{{\"middlewares\":{{\"{}\":{},\"{}\":{}",
                errors.name, errors.json, visitor.name, visitor.json
            )),
            routers: piece(&format!("}},\"routers\":{{{}", routers.join(","))),
            services: piece(&format!("}},\"services\":{{{}", services.join(","))),
            http_end: piece(&format!(
                "}},\"serversTransports\":{{\"{POD_TRANSPORT}\":{}}}}}",
                json(&TO_PODS)
            )),
            tcp: piece(",\"tcp\":{\"routers\":{"),
            tcp_with_middlewares: piece(",\"tcp\":{\"middlewares\":{"),
            tcp_routers: piece("},\"routers\":{"),
            tcp_services: piece("},\"services\":{"),
            // Clients of PostgreSQL say from version 17 on what they speak, and the proxy knows of HTTP only.
            tcp_end: piece(&format!(
                "}}}},\"tls\":{{\"options\":{{\"{POSTGRES_TLS}\":{{\"alpnProtocols\":[\"postgresql\"]}}}}}}"
            )),
            end: piece("}"),
            visitor: visitor.name,
            entry_points: [settings.entry_point_http.clone(), settings.entry_point_https.clone()],
        }
    }

    /// The routers that lead a user's own domain to the edge wherever its pod has none, so that nothing else answers
    /// there, above all not the API.
    pub fn of_domain(&self, name: &str, domain: &str) -> [NamedRouter; 2] {
        [0, 1].map(|kind| {
            let router = Router {
                entry_points: [self.entry_points[kind].as_str()],
                rule: rules::host(domain),
                service: EDGE,
                middlewares: vec![&*self.visitor],
                priority: DOMAIN_PRIORITY,
                tls: (kind == 1).then(Tls::default),
            };
            (format!("{name}{}", DOMAIN_PAGES[kind]).into(), json(&router).into())
        })
    }

    /// The whole document. Traefik refuses one over an empty object, so none is written.
    pub fn document(&self, http: &Sheets, tcp: &Sheets) -> Vec<Piece> {
        let mut pieces = vec![self.middlewares.clone()];
        http.middlewares.render(true, &mut pieces);
        pieces.push(self.routers.clone());
        http.routers.render(true, &mut pieces);
        pieces.push(self.services.clone());
        http.services.render(true, &mut pieces);
        pieces.push(self.http_end.clone());
        if !tcp.routers.is_empty() {
            if tcp.middlewares.is_empty() {
                pieces.push(self.tcp.clone());
            } else {
                pieces.push(self.tcp_with_middlewares.clone());
                tcp.middlewares.render(false, &mut pieces);
                pieces.push(self.tcp_routers.clone());
            }
            tcp.routers.render(false, &mut pieces);
            pieces.push(self.tcp_services.clone());
            tcp.services.render(false, &mut pieces);
            pieces.push(self.tcp_end.clone());
        }
        pieces.push(self.end.clone());
        pieces
    }
}
