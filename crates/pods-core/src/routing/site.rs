//! The routes that exist without any pod, and the frame of the document.

use super::{
    Piece, RoutingSettings, VISITOR_PREFIX,
    document::{Middleware, Router, Service, Tls, json},
    middlewares::Names,
    rules::POD_HOSTS,
    sheet::Sheets,
};

/// The service of the edge.
pub(super) const EDGE: &str = "edge";

/// The service of the REST API.
const API: &str = "api";

/// Paths of the REST API on every host that is not a pod's.
const API_PREFIXES: [&str; 4] = ["/v3/pods", "/v3/volumes", "/v3/snapshots", "/v3/healthcheck"];

const API_PRIORITY: u32 = 900;
const CATCH_ALL_PRIORITY: u32 = 1;

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
}

impl Frame {
    pub fn new(settings: &RoutingSettings, names: &mut Names) -> Self {
        let visitor = names.shared(&Middleware::AddPrefix { prefix: VISITOR_PREFIX.to_owned() });
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
                middlewares: if api { Vec::new() } else { vec![&*visitor.name] },
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
        let service = |name: &str, url: &str| format!("\"{name}\":{}", json(&Service::http(url)));
        let services = [service(API, &settings.api_url), service(EDGE, &settings.edge_url)];
        let piece = |text: &str| Piece::from(text.as_bytes());
        Self {
            middlewares: piece(&format!(
                "{{\"http\":{{\"middlewares\":{{\"{}\":{}",
                visitor.name, visitor.json
            )),
            routers: piece(&format!("}},\"routers\":{{{}", routers.join(","))),
            services: piece(&format!("}},\"services\":{{{}", services.join(","))),
            http_end: piece("}}"),
            tcp: piece(",\"tcp\":{\"routers\":{"),
            tcp_with_middlewares: piece(",\"tcp\":{\"middlewares\":{"),
            tcp_routers: piece("},\"routers\":{"),
            tcp_services: piece("},\"services\":{"),
            tcp_end: piece("}}"),
            end: piece("}"),
        }
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
