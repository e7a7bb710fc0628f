//! OAuth clients: a user's own, or a service's on behalf of one.

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Path};
use chrono::{SecondsFormat, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::Shared;
use crate::Platform;
use crate::platform::{Clients, OAuthClient};
use crate::reply::{Failure, Reply, body, claims_of, header, ok};

#[derive(Deserialize)]
struct ClientRequest {
    client_id: Option<String>,
    client_key: Option<String>,
    callback_url: Option<String>,
    display_name: Option<String>,
    description: Option<String>,
    active: Option<bool>,
}

struct Owner {
    tenant_id: String,
    username: String,
}

/// Whose clients the request is about.
fn owner_of(request: &HttpRequest, platform: &Platform) -> Result<Owner, Failure> {
    let claims = claims_of(request, platform)?;
    if claims.account_type != "service" {
        return Ok(Owner { tenant_id: claims.tenant_id, username: claims.username });
    }
    let (Some(tenant_id), Some(username)) =
        (header(request, "x-tapis-tenant"), header(request, "x-tapis-user"))
    else {
        return Err(Failure::bad_request("a service must send X-Tapis-Tenant and X-Tapis-User"));
    };
    if platform.config().tenant(tenant_id).is_none() {
        return Err(Failure::bad_request(format!("there is no tenant {tenant_id}")));
    }
    Ok(Owner { tenant_id: tenant_id.to_owned(), username: username.to_owned() })
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn find<'a>(clients: &'a mut Clients, owner: &Owner, id: &str) -> Result<&'a mut OAuthClient, Failure> {
    let client = clients.get_mut(&owner.tenant_id).and_then(|of_tenant| of_tenant.get_mut(id));
    client
        .filter(|client| client.owner == owner.username)
        .ok_or_else(|| Failure::not_found(format!("{} has no client {id}", owner.username)))
}

pub async fn list(request: HttpRequest, platform: Shared) -> Reply {
    let owner = owner_of(&request, &platform)?;
    let clients: Clients = platform.clients.read()?;
    let of_tenant = clients.get(&owner.tenant_id).into_iter().flat_map(|of_tenant| of_tenant.values());
    ok("clients retrieved", of_tenant.filter(|client| client.owner == owner.username).collect::<Vec<_>>())
}

pub async fn create(request: HttpRequest, platform: Shared, bytes: Bytes) -> Reply {
    let owner = owner_of(&request, &platform)?;
    let asked: ClientRequest = body(&request, &bytes)?;
    let client = OAuthClient {
        client_id: asked.client_id.unwrap_or_else(|| Uuid::new_v4().simple().to_string()),
        client_key: asked.client_key.unwrap_or_else(|| Uuid::new_v4().simple().to_string()),
        owner: owner.username,
        tenant_id: owner.tenant_id,
        callback_url: asked.callback_url.unwrap_or_default(),
        display_name: asked.display_name.unwrap_or_default(),
        description: asked.description.unwrap_or_default(),
        active: asked.active.unwrap_or(true),
        create_time: now(),
        last_update_time: now(),
    };
    platform.clients.change(|clients: &mut Clients| {
        let of_tenant = clients.entry(client.tenant_id.clone()).or_default();
        if of_tenant.contains_key(&client.client_id) {
            return Err(Failure::bad_request("client_id is not unique: the tenant has a client of this id"));
        }
        of_tenant.insert(client.client_id.clone(), client.clone());
        Ok(())
    })??;
    ok("client created", client)
}

pub async fn get(request: HttpRequest, platform: Shared, id: Path<String>) -> Reply {
    let owner = owner_of(&request, &platform)?;
    let mut clients: Clients = platform.clients.read()?;
    ok("client retrieved", find(&mut clients, &owner, &id)?)
}

pub async fn update(request: HttpRequest, platform: Shared, id: Path<String>, bytes: Bytes) -> Reply {
    let owner = owner_of(&request, &platform)?;
    let asked: ClientRequest = body(&request, &bytes)?;
    let client = platform.clients.change(|clients: &mut Clients| {
        let client = find(clients, &owner, &id)?;
        client.callback_url = asked.callback_url.unwrap_or(std::mem::take(&mut client.callback_url));
        client.display_name = asked.display_name.unwrap_or(std::mem::take(&mut client.display_name));
        client.description = asked.description.unwrap_or(std::mem::take(&mut client.description));
        client.active = asked.active.unwrap_or(client.active);
        client.last_update_time = now();
        Ok::<_, Failure>(client.clone())
    })??;
    ok("client updated", client)
}

pub async fn delete(request: HttpRequest, platform: Shared, id: Path<String>) -> Reply {
    let owner = owner_of(&request, &platform)?;
    platform.clients.change(|clients: &mut Clients| {
        find(clients, &owner, &id)?;
        if let Some(of_tenant) = clients.get_mut(&owner.tenant_id) {
            of_tenant.remove(id.as_str());
        }
        Ok::<_, Failure>(())
    })??;
    ok("client deleted", "")
}
