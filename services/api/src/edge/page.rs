//! The pages that visitors see in place of a pod. They tell strangers in which coarse state a pod is, never whose it is,
//! what runs in it or why it failed; somebody who is logged in and may read the pod also sees its explanation.

mod content;
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

use self::content::Content;
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
