//! The pages that visitors see in place of a pod. They tell strangers in which coarse state a pod is, never whose it is,
//! what runs in it or why it failed; somebody who is logged in and may read the pod also sees its explanation.

pub mod gone;
mod html;
pub mod reader;
#[cfg(test)]
mod tests;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use serde_json::json;

use crate::view::ExplanationView;

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Not running yet, or not ready for visitors yet.
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
    /// Deleted a moment ago.
    Deleting,
    /// The entry speaks TCP or PostgreSQL.
    NotWeb,
    /// Running, but its definition cannot be routed.
    Unroutable,
    /// No pod has this host.
    Unknown,
    /// The edge does not know enough to say anything.
    Unavailable,
    /// Visitors must log in, which is not possible at the moment.
    LoginUnavailable,
    /// A login that cannot be completed: too old, of another browser, or not ours.
    LoginBroken,
    /// Logged in, and not among those who may pass.
    NotAllowed,
}

/// How a page is wanted, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Form<'a> {
    /// As the envelope of the API instead of HTML.
    pub json: bool,
    /// Version in JSON answers.
    pub version: &'a str,
    /// Who sees it.
    pub seen: Seen<'a>,
}

/// Who sees a page.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// Nobody knows who it is.
    Stranger {
        /// Path on the same host where somebody can log in, if that is possible.
        login: Option<&'a str>,
    },
    /// Somebody whom the platform just named, and who has no session here.
    Account {
        /// As the platform calls the visitor.
        username: &'a str,
    },
    /// Somebody who is logged in and may not read the pod.
    Guest {
        /// As the platform calls the visitor.
        username: &'a str,
    },
    /// Somebody who is logged in and may read the pod.
    Reader {
        /// As the platform calls the visitor.
        username: &'a str,
        /// What there is to know; `None` when it cannot be read at the moment.
        insight: Option<&'a ExplanationView>,
    },
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
    /// Every page.
    pub const ALL: [Page; 14] = [
        Page::Starting,
        Page::Opening,
        Page::Stopping,
        Page::Stopped,
        Page::Finished,
        Page::Failed,
        Page::Deleting,
        Page::NotWeb,
        Page::Unroutable,
        Page::Unknown,
        Page::Unavailable,
        Page::LoginUnavailable,
        Page::LoginBroken,
        Page::NotAllowed,
    ];

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unknown | Self::NotWeb => StatusCode::NOT_FOUND,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::LoginBroken => StatusCode::BAD_REQUEST,
            Self::Starting
            | Self::Opening
            | Self::Stopping
            | Self::Stopped
            | Self::Finished
            | Self::Failed
            | Self::Deleting
            | Self::LoginUnavailable
            | Self::Unroutable
            | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether it is about a pod that somebody may be allowed to know more of.
    pub fn is_about_a_pod(self) -> bool {
        match self {
            Self::Starting
            | Self::Opening
            | Self::Stopping
            | Self::Stopped
            | Self::Finished
            | Self::Failed
            | Self::Unroutable => true,
            Self::Deleting
            | Self::NotWeb
            | Self::Unknown
            | Self::Unavailable
            | Self::LoginUnavailable
            | Self::LoginBroken
            | Self::NotAllowed => false,
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
            Self::Deleting => (
                "deleting",
                "This pod is being deleted",
                "It takes no more visitors, and its address will soon be free.",
                Some(10),
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
            Self::LoginUnavailable => (
                "login_unavailable",
                "Nobody can log in right now",
                "This pod is for visitors who log in, and the login does not work at the moment. This page looks \
                 again every few seconds; whoever is logged in already can go on.",
                Some(10),
            ),
            Self::LoginBroken => (
                "login_broken",
                "This login cannot be completed",
                "It took too long, began in another browser, or was completed already. Open the pod again to log in \
                 anew.",
                None,
            ),
            Self::NotAllowed => (
                "not_allowed",
                "This pod is not open to you",
                "You are logged in, but you are not among those whom the people who run this pod let in. They can \
                 add you.",
                None,
            ),
        };
        Content { state, title, text, refresh }
    }

    /// The page as HTML, or as the envelope of the API for clients that would rather have JSON.
    pub fn respond(self, form: &Form<'_>) -> HttpResponse {
        let content = self.content();
        let mut response = match form.json {
            true => answer(self.status())
                .insert_header((header::CONTENT_TYPE, "application/json"))
                .body(envelope(&content, form)),
            false => frame(self.status(), html::page(self, &content, &form.seen)),
        };
        if let Some(seconds) = content.refresh {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// A page of ours, which loads nothing and is shown in no other page.
pub fn frame(status: StatusCode, html: String) -> HttpResponse {
    answer(status)
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        // Not "no-referrer": with it browsers hide where a logout comes from, and it would be refused.
        .insert_header((header::REFERRER_POLICY, "same-origin"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'self'; \
             frame-ancestors 'none'",
        ))
        .body(html)
}

/// What nobody keeps or finds in a search.
fn answer(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Robots-Tag", "noindex, nofollow"))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .insert_header((header::VARY, "Accept, Cookie"));
    response
}

fn envelope(content: &Content, form: &Form<'_>) -> String {
    let result = match form.seen {
        Seen::Reader { insight, .. } => json!(insight),
        Seen::Stranger { .. } | Seen::Account { .. } | Seen::Guest { .. } => json!(null),
    };
    json!({
        "message": format!("{}. {}", content.title, content.text),
        "metadata": {"retry_after": content.refresh, "state": content.state},
        "result": result,
        "status": "error",
        "version": form.version,
    })
    .to_string()
}
