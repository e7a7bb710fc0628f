//! The log-in page, for browsers.

use std::time::{Duration, Instant};

use actix_web::http::header::LOCATION;
use actix_web::web::{Form, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::Shared;
use super::login::password_fits;
use crate::Platform;
use crate::platform::{Clients, Code};
use crate::reply::{Failure, Reply, tenant_of};
use crate::tokens::{Kind, Subject};

/// A code must be exchanged within this time.
const CODE_LIFE: Duration = Duration::from_secs(300);

/// What a client sends a browser here with; the form carries it through.
#[derive(Deserialize)]
pub struct Asked {
    client_id: String,
    redirect_uri: String,
    response_type: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    code_challenge: String,
    #[serde(default)]
    code_challenge_method: String,
}

#[derive(Deserialize)]
pub struct Credentials {
    username: String,
    password: String,
}

pub async fn page(request: HttpRequest, platform: Shared, asked: Query<Asked>) -> Reply {
    let tenant_id = &tenant_of(&request, &platform).tenant_id;
    check(&platform, tenant_id, &asked)?;
    Ok(show(tenant_id, &asked, ""))
}

pub async fn log_in(
    request: HttpRequest,
    platform: Shared,
    asked: Query<Asked>,
    credentials: Form<Credentials>,
) -> Reply {
    let tenant_id = tenant_of(&request, &platform).tenant_id.clone();
    let mut target = check(&platform, &tenant_id, &asked)?;
    if !password_fits(&platform, &tenant_id, &credentials.username, &credentials.password) {
        return Ok(show(&tenant_id, &asked, "Wrong username or password."));
    }
    tracing::info!("{}@{tenant_id} logged in for the client {}", credentials.username, asked.client_id);
    if asked.response_type == "code" {
        let code = remember(&platform, &tenant_id, &credentials.username, &asked);
        target.query_pairs_mut().append_pair("code", &code);
        if !asked.state.is_empty() {
            target.query_pairs_mut().append_pair("state", &asked.state);
        }
    } else {
        let seconds = platform.config().access_token_seconds;
        let subject = Subject {
            tenant_id,
            username: credentials.username.clone(),
            target_site: None,
            client_id: Some(asked.client_id.clone()),
            grant_type: "implicit",
        };
        let token = platform.mint(&subject, Kind::Access, seconds)?;
        let fragment = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("access_token", &token)
            .append_pair("state", &asked.state)
            .append_pair("expires_in", &seconds.to_string())
            .append_pair("token_type", "Bearer")
            .finish();
        target.set_fragment(Some(&fragment));
    }
    Ok(HttpResponse::Found().insert_header((LOCATION, target.as_str())).finish())
}

/// The address to return to, if client and address belong together.
fn check(platform: &Platform, tenant_id: &str, asked: &Asked) -> Result<Url, Failure> {
    if !matches!(asked.response_type.as_str(), "code" | "token") {
        return Err(Failure::bad_request("response_type must be code or token"));
    }
    if !matches!(asked.code_challenge_method.as_str(), "" | "plain" | "S256") {
        return Err(Failure::bad_request("code_challenge_method must be plain or S256"));
    }
    let target = Url::parse(&asked.redirect_uri)
        .map_err(|_| Failure::bad_request("redirect_uri is not a complete address"))?;
    if asked.client_id == format!("tapisui-implicit-client-{tenant_id}") && asked.response_type == "token" {
        return if is_local(&target) {
            Ok(target)
        } else {
            Err(Failure::bad_request("this client returns to local addresses only"))
        };
    }
    let clients: Clients = platform.clients.read()?;
    let client = clients.get(tenant_id).and_then(|of_tenant| of_tenant.get(&asked.client_id));
    let client = client.filter(|client| client.active).ok_or_else(|| {
        Failure::bad_request(format!("the tenant {tenant_id} has no client {}", asked.client_id))
    })?;
    if client.callback_url != asked.redirect_uri {
        return Err(Failure::bad_request("redirect_uri is not the one that the client registered"));
    }
    Ok(target)
}

fn is_local(target: &Url) -> bool {
    target.host_str().is_some_and(|host| {
        matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost")
    })
}

fn remember(platform: &Platform, tenant_id: &str, username: &str, asked: &Asked) -> String {
    let given = Uuid::new_v4().simple().to_string();
    let now = Instant::now();
    let challenge = (!asked.code_challenge.is_empty())
        .then(|| (asked.code_challenge.clone(), asked.code_challenge_method.clone()));
    let code = Code {
        tenant_id: tenant_id.to_owned(),
        username: username.to_owned(),
        client_id: asked.client_id.clone(),
        redirect_uri: asked.redirect_uri.clone(),
        challenge,
        expires: now + CODE_LIFE,
    };
    let mut codes = platform.codes.lock().expect("no handler panics with the lock");
    codes.retain(|_, code| code.expires > now);
    codes.insert(given.clone(), code);
    given
}

/// The form posts to its own address, so the query travels along.
fn show(tenant_id: &str, asked: &Asked, complaint: &str) -> HttpResponse {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Log in</title>\
         <style>body{{font-family:sans-serif;max-width:24rem;margin:4rem auto}}\
         input,button{{display:block;width:100%;margin:.4rem 0;padding:.4rem}}</style></head><body>\
         <h1>Log in to {tenant}</h1>\
         <p>Development stand-in for Tapis; not a real log-in. {client} wants to know who you are.</p>\
         <p role=\"alert\">{complaint}</p>\
         <form method=\"post\"><label>Username<input name=\"username\" autofocus required></label>\
         <label>Password<input name=\"password\" type=\"password\" required></label>\
         <button type=\"submit\">Log in</button></form></body></html>",
        tenant = escape(tenant_id),
        client = escape(&asked.client_id),
    );
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("cache-control", "no-store"))
        .body(html)
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}
