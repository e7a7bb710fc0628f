//! What services ask for: their own tokens, and the roles of users.

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Path, Query};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use crate::reply::{Failure, Reply, basic_auth, body, claims_of, header, ok};
use crate::tokens::{Kind, Subject};

#[derive(Deserialize)]
struct ServiceTokenRequest {
    token_username: String,
    token_tenant_id: String,
    account_type: String,
    target_site_id: Option<String>,
    access_token_ttl: Option<i64>,
}

pub async fn create_token(request: HttpRequest, platform: Shared, bytes: Bytes) -> Reply {
    let (name, password) =
        basic_auth(&request).ok_or_else(|| Failure::unauthorized("basic authentication is required"))?;
    let services = &platform.config().services;
    if !services.iter().any(|service| service.name == name && service.password == password) {
        return Err(Failure::unauthorized("wrong service name or password"));
    }
    let asked: ServiceTokenRequest = body(&request, &bytes)?;
    if asked.account_type != "service" || asked.token_username != name {
        return Err(Failure::forbidden("a service gets service tokens of its own name only"));
    }
    if platform.config().tenant(&asked.token_tenant_id).is_none() {
        return Err(Failure::bad_request(format!("there is no tenant {}", asked.token_tenant_id)));
    }
    let target_site = asked.target_site_id.unwrap_or_else(|| platform.config().site_id.clone());
    if !platform.config().sites.iter().any(|site| site.site_id == target_site) {
        return Err(Failure::bad_request(format!("there is no site {target_site}")));
    }
    tracing::info!("the service {name} got a token for the site {target_site}");
    let subject = Subject {
        tenant_id: asked.token_tenant_id,
        username: name,
        target_site: Some(target_site),
        client_id: None,
        grant_type: "service",
    };
    let seconds = asked.access_token_ttl.unwrap_or(platform.config().access_token_seconds);
    ok("token created", platform.token_pair(&subject, seconds)?)
}

#[derive(Deserialize)]
struct RefreshRequest {
    refresh_token: String,
}

pub async fn refresh_token(request: HttpRequest, platform: Shared, bytes: Bytes) -> Reply {
    let asked: RefreshRequest = body(&request, &bytes)?;
    let claims = platform
        .read_token(&asked.refresh_token, Kind::Refresh)
        .ok_or_else(|| Failure::unauthorized("the refresh token is not valid"))?;
    let subject = Subject {
        tenant_id: claims.tenant_id,
        username: claims.username,
        target_site: claims.target_site,
        client_id: claims.client_id,
        grant_type: "refresh_token",
    };
    ok("token refreshed", platform.token_pair(&subject, platform.config().access_token_seconds)?)
}

#[derive(Deserialize)]
struct RevokeRequest {
    token: String,
}

/// Whoever has a token may take it back.
pub async fn revoke_token(request: HttpRequest, platform: Shared, bytes: Bytes) -> Reply {
    let asked: RevokeRequest = body(&request, &bytes)?;
    platform
        .read_token(&asked.token, Kind::Access)
        .ok_or_else(|| Failure::bad_request("this is no access token of this platform"))?;
    platform.revoke_token(&asked.token)?;
    ok("token revoked", json!(null))
}

#[derive(Deserialize)]
pub struct RolesQuery {
    tenant: String,
}

pub async fn roles(
    request: HttpRequest,
    platform: Shared,
    username: Path<String>,
    query: Query<RolesQuery>,
) -> Reply {
    let claims = claims_of(&request, &platform)?;
    if claims.account_type != "service" {
        return Err(Failure::forbidden("only services may look roles up"));
    }
    if header(&request, "x-tapis-tenant").is_none() || header(&request, "x-tapis-user").is_none() {
        return Err(Failure::bad_request("a service must send X-Tapis-Tenant and X-Tapis-User"));
    }
    ok("roles retrieved", json!({ "names": platform.roles_of(&query.tenant, &username)? }))
}
