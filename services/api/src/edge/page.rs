//! The pages that visitors of a host without a route see. They say in which coarse state a pod is, never whose it
//! is, what runs in it or why it failed.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use serde_json::json;

const TEMPLATE: &str = include_str!("page.html");

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// Not running yet.
    Starting,
    /// Running; Traefik learns of it within seconds.
    Opening,
    /// On its way to stopped.
    Stopping,
    /// Not running because somebody wants it so.
    Stopped,
    /// Its container ended well.
    Finished,
    /// Its container ended badly or never began.
    Failed,
    /// Visitors must log in, which is not built yet.
    LoginMissing,
    /// The entry speaks TCP or PostgreSQL.
    NotWeb,
    /// Running, but its definition cannot be routed.
    Unroutable,
    /// No pod has this host.
    Unknown,
    /// The edge does not know enough to say anything.
    Unavailable,
}

struct Content {
    /// A stable word: `metadata.state` of the JSON form.
    state: &'static str,
    title: &'static str,
    text: &'static str,
    /// Seconds until the page looks again.
    refresh: Option<u32>,
}

impl Page {
    #[cfg(test)]
    pub const ALL: [Page; 11] = [
        Page::Starting,
        Page::Opening,
        Page::Stopping,
        Page::Stopped,
        Page::Finished,
        Page::Failed,
        Page::LoginMissing,
        Page::NotWeb,
        Page::Unroutable,
        Page::Unknown,
        Page::Unavailable,
    ];

    pub fn status(self) -> StatusCode {
        match self {
            Self::Unknown | Self::NotWeb => StatusCode::NOT_FOUND,
            Self::Starting
            | Self::Opening
            | Self::Stopping
            | Self::Stopped
            | Self::Finished
            | Self::Failed
            | Self::LoginMissing
            | Self::Unroutable
            | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn content(self) -> Content {
        let (state, title, text, refresh) = match self {
            Self::Starting => (
                "starting",
                "This pod is starting",
                "It is not ready for visitors yet. This page looks again every few seconds.",
                Some(5),
            ),
            Self::Opening => (
                "starting",
                "This pod is starting",
                "It is running and opens in a moment. This page takes you there.",
                Some(1),
            ),
            Self::Stopping => (
                "stopping",
                "This pod is stopping",
                "It is being shut down and takes no more visitors.",
                Some(10),
            ),
            Self::Stopped => (
                "stopped",
                "This pod is stopped",
                "It is not running at the moment. The people who run it can start it again.",
                None,
            ),
            Self::Finished => (
                "finished",
                "This pod has finished",
                "It did its work and no longer runs. The people who run it can start it again.",
                None,
            ),
            Self::Failed => (
                "error",
                "This pod is not running",
                "It could not be started or it ended with an error. The people who run it find the reason in its \
                 status and its logs.",
                None,
            ),
            Self::LoginMissing => (
                "login_unavailable",
                "Login is not available yet",
                "This pod is only for visitors who log in with Tapis, and this service does not offer that login \
                 yet.",
                None,
            ),
            Self::NotWeb => (
                "not_http",
                "This is not a web page",
                "A pod is here, but it does not speak HTTP. Connect with the program that it is meant for.",
                None,
            ),
            Self::Unroutable => (
                "unroutable",
                "This pod cannot be reached",
                "It runs, but its networking settings cannot be used. The people who run it can correct them.",
                None,
            ),
            Self::Unknown => (
                "unknown",
                "There is no pod here",
                "No pod has this address. It may be mistyped, or the pod was deleted.",
                None,
            ),
            Self::Unavailable => (
                "unavailable",
                "Please wait a moment",
                "We cannot look up this address right now. This page looks again every few seconds.",
                Some(5),
            ),
        };
        Content { state, title, text, refresh }
    }

    /// The page as HTML, or as the envelope of the API for clients that would rather have JSON.
    pub fn respond(self, as_json: bool, version: &str) -> HttpResponse {
        let content = self.content();
        let mut response = HttpResponse::build(self.status());
        response
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header(("X-Robots-Tag", "noindex, nofollow"))
            .insert_header(("X-Content-Type-Options", "nosniff"))
            .insert_header((header::VARY, "Accept"));
        if let Some(seconds) = content.refresh {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if as_json {
            return response.insert_header((header::CONTENT_TYPE, "application/json")).body(
                json!({
                    "message": format!("{}. {}", content.title, content.text),
                    "metadata": {"state": content.state},
                    "result": null,
                    "status": "error",
                    "version": version,
                })
                .to_string(),
            );
        }
        response
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header((
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'",
            ))
            .body(html(&content))
    }
}

fn html(content: &Content) -> String {
    let refresh = match content.refresh {
        Some(seconds) => format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"),
        None => String::new(),
    };
    TEMPLATE
        .replace("<!--refresh-->\n", &refresh)
        .replace("{state}", content.state)
        .replace("{title}", content.title)
        .replace("{text}", content.text)
}
