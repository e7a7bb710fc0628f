//! The pages around logging out.

use actix_web::{HttpResponse, http::StatusCode};

use crate::edge::page::frame;

/// The frame of all pages of the edge.
const TEMPLATE: &str = include_str!("../page/page.html");

/// Asks whether to log out: a link alone must not.
pub(super) fn ask_for_logout() -> HttpResponse {
    respond(
        StatusCode::OK,
        "Log out",
        "This ends your session at this pod, in this browser.",
        "<form method=\"post\" action=\"/.well-known/tapis-pods/logout\"><button type=\"submit\">Log out</button></form>",
    )
}

/// The session is over.
pub(super) fn logged_out() -> HttpResponse {
    respond(
        StatusCode::OK,
        "You are logged out",
        "Your session at this pod is over. You may still be logged in to Tapis itself and to other pods.",
        "<p><a href=\"/.well-known/tapis-pods/login\">Log in again</a></p>",
    )
}

/// Neither the database nor the disk takes it down.
pub(super) fn logout_unavailable() -> HttpResponse {
    respond(
        StatusCode::SERVICE_UNAVAILABLE,
        "You are not logged out yet",
        "We cannot note down right now that your session is over. Try again in a moment.",
        "<p><a href=\"/.well-known/tapis-pods/logout\">Log out</a></p>",
    )
}

/// Another page tried to log the visitor out.
pub(super) fn foreign_logout() -> HttpResponse {
    respond(
        StatusCode::FORBIDDEN,
        "You are not logged out",
        "Another website asked for it. If it was you, confirm it here.",
        "<p><a href=\"/.well-known/tapis-pods/logout\">Log out</a></p>",
    )
}

/// A page of another website sent something in the visitor's name.
pub(super) fn foreign() -> HttpResponse {
    respond(
        StatusCode::FORBIDDEN,
        "Nothing was done",
        "Another website sent this in your name. If it was you, open the pod and do it there.",
        "<p><a href=\"/\">Open the pod</a></p>",
    )
}

/// Asks whose user somebody is. Ids of tenants, the host and `login` have no characters that mean anything in HTML.
pub fn choose_tenant(tenants: &[&str], host: &str, login: &str) -> HttpResponse {
    let link = |tenant: &&str| {
        format!("<li><a href=\"?host={host}&amp;login={login}&amp;tenant={tenant}\">{tenant}</a></li>")
    };
    let links: String = tenants.iter().map(link).collect();
    respond(
        StatusCode::OK,
        "Log in",
        "This pod is open to users of several tenants. Choose the one that you have an account in.",
        &format!("<nav aria-label=\"Tenants\"><ul>{links}</ul></nav>"),
    )
}

fn respond(status: StatusCode, title: &str, text: &str, action: &str) -> HttpResponse {
    let body = TEMPLATE
        .replace("<!--refresh-->\n", "")
        .replace("<!--bar-->\n", "")
        .replace("{state}", "login")
        .replace("{title}", title)
        .replace("{text}", text)
        .replace("<!--more-->", &format!("<footer>{action}</footer>"));
    frame(status, body)
}
