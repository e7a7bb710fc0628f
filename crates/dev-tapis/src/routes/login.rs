//! The Authenticator: tokens for users, who they are.

use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Path};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Shared;
use crate::Platform;
use crate::platform::{Clients, Code, OAuthClient};
use crate::reply::{Failure, Reply, basic_auth, body, claims_of, ok, tenant_of};
use crate::tokens::{Kind, Subject};

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    username: Option<String>,
    password: Option<String>,
    refresh_token: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    client_id: Option<String>,
    client_key: Option<String>,
}

pub async fn tokens(request: HttpRequest, platform: Shared, bytes: Bytes) -> Reply {
    let tenant_id = tenant_of(&request, &platform).tenant_id.clone();
    let asked: TokenRequest = body(&request, &bytes)?;
    let client = known_client(&request, &platform, &tenant_id, &asked)?;
    let (username, grant_type) = match asked.grant_type.as_str() {
        "password" => (by_password(&platform, &tenant_id, &asked)?, "password"),
        "refresh_token" => (by_refresh_token(&platform, &tenant_id, &asked)?, "refresh_token"),
        "authorization_code" => {
            (by_code(&platform, &tenant_id, &asked, client.as_ref())?, "authorization_code")
        }
        other => return Err(Failure::bad_request(format!("the grant_type {other} is not supported"))),
    };
    tracing::info!("{username}@{tenant_id} got a token ({grant_type})");
    let client_id = client.map(|client| client.client_id);
    let subject = Subject { tenant_id, username, target_site: None, client_id, grant_type };
    ok("token created", platform.token_pair(&subject, platform.config().access_token_seconds)?)
}

fn by_password(platform: &Platform, tenant_id: &str, asked: &TokenRequest) -> Result<String, Failure> {
    let (Some(username), Some(password)) = (&asked.username, &asked.password) else {
        return Err(Failure::bad_request("username and password are required"));
    };
    if !password_fits(platform, tenant_id, username, password) {
        return Err(Failure::unauthorized("wrong username or password"));
    }
    Ok(username.clone())
}

pub fn password_fits(platform: &Platform, tenant_id: &str, username: &str, password: &str) -> bool {
    platform.config().user(tenant_id, username).is_some_and(|user| user.password == password)
}

fn by_refresh_token(platform: &Platform, tenant_id: &str, asked: &TokenRequest) -> Result<String, Failure> {
    let token =
        asked.refresh_token.as_deref().ok_or_else(|| Failure::bad_request("refresh_token is required"))?;
    let claims = platform
        .read_token(token, Kind::Refresh)
        .filter(|claims| claims.tenant_id == tenant_id && claims.account_type == "user")
        .ok_or_else(|| Failure::unauthorized("the refresh token is not valid"))?;
    Ok(claims.username)
}

fn by_code(
    platform: &Platform,
    tenant_id: &str,
    asked: &TokenRequest,
    client: Option<&OAuthClient>,
) -> Result<String, Failure> {
    let client = client.ok_or_else(|| Failure::unauthorized("the client must say who it is"))?;
    let given = asked.code.as_deref().ok_or_else(|| Failure::bad_request("code is required"))?;
    let code = platform.codes.lock().expect("no handler panics with the lock").remove(given);
    let bad = || Failure::bad_request("the code is not valid: unknown, used, over, or of another client");
    let code = code.ok_or_else(bad)?;
    let fits = code.tenant_id == tenant_id
        && code.client_id == client.client_id
        && Some(&code.redirect_uri) == asked.redirect_uri.as_ref()
        && code.expires > Instant::now();
    if !fits {
        return Err(bad());
    }
    if !verifier_fits(&code, asked.code_verifier.as_deref()) {
        return Err(Failure::bad_request("the code_verifier does not fit the code_challenge"));
    }
    Ok(code.username)
}

fn verifier_fits(code: &Code, verifier: Option<&str>) -> bool {
    match (&code.challenge, verifier) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((challenge, method)), Some(verifier)) if method == "S256" => {
            URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())) == *challenge
        }
        (Some((challenge, _)), Some(verifier)) => verifier == challenge,
    }
}

/// The client that the request names, by basic authentication or in the body; an unknown one is an error.
fn known_client(
    request: &HttpRequest,
    platform: &Platform,
    tenant_id: &str,
    asked: &TokenRequest,
) -> Result<Option<OAuthClient>, Failure> {
    let in_body = asked.client_id.clone().zip(asked.client_key.clone());
    let Some((id, key)) = basic_auth(request).or(in_body) else { return Ok(None) };
    let clients: Clients = platform.clients.read()?;
    let client = clients.get(tenant_id).and_then(|of_tenant| of_tenant.get(&id));
    let client = client.filter(|client| client.client_key == key && client.active);
    client.cloned().map(Some).ok_or_else(|| Failure::unauthorized("the client id or key is wrong"))
}

pub async fn userinfo(request: HttpRequest, platform: Shared) -> Reply {
    let claims = claims_of(&request, &platform)?;
    if claims.account_type != "user" {
        return Err(Failure::bad_request("a service token has no user"));
    }
    ok("user profile retrieved", profile_of(&claims.username))
}

pub async fn profile(request: HttpRequest, platform: Shared, username: Path<String>) -> Reply {
    let claims = claims_of(&request, &platform)?;
    let exists =
        platform.config().user(&claims.tenant_id, &username).is_some() || *username == claims.username;
    if !exists {
        return Err(Failure::not_found(format!("there is no user {username}")));
    }
    ok("user profile retrieved", profile_of(&username))
}

fn profile_of(username: &str) -> Value {
    json!({
        "username": username,
        "given_name": username,
        "last_name": "Developer",
        "email": format!("{username}@example.invalid"),
        "create_time": "2026-01-01T00:00:00.000000Z",
        "phone": null,
        "mobile_phone": null,
        "dn": format!("cn={username},ou=dev"),
    })
}
