//! From the pod to the platform's login page.

use actix_web::{HttpRequest, HttpResponse};
use pods_core::visitor::paths::WELL_KNOWN;
use pods_secrets::token;
use tapis::OAuth;

use super::{
    LOGIN_MAX, clients, found,
    place::{Place, on_pod},
    refusal::Refusal,
    state::State,
    turns::{self, Address},
};
use crate::{
    edge::auth::{
        page::choose_tenant,
        request::{is_part_of_page, wants_html},
    },
    query::Query,
    state::AppState,
};

pub(super) async fn begin(
    app: &AppState,
    request: &HttpRequest,
    pod_id_net: &str,
    query: &Query,
) -> Result<HttpResponse, Refusal> {
    // Nobody sees a login page in a picture; and foreign pages are full of pictures.
    if is_part_of_page(request.headers()) {
        return Err(Refusal::PartOfPage);
    }
    let place = turns::look(Address::of(request), Place::find(app, request, pod_id_net)).await?;
    let host = place.host(query.last("host"))?;
    if place.is_open() {
        // The container would see whatever a login brings along.
        return Ok(found(&on_pod(app, host, "/")));
    }
    let Some(login) = query.last("login") else {
        // Only the pod's own host can tie a login to a browser.
        return Ok(found(&on_pod(app, host, &format!("{WELL_KNOWN}login"))));
    };
    let readable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if login.is_empty() || login.len() > LOGIN_MAX || !login.bytes().all(readable) {
        return Err(Refusal::Broken);
    }
    let tenant_id = match query.last("tenant") {
        Some(tenant_id) => tenant_id,
        // Somebody has to say which users they are one of; a program cannot be asked.
        None if !place.gate.opened_to().is_empty() && wants_html(request.headers()) => {
            let own = place.tenant.tenant_id.as_str();
            let tenants: Vec<&str> = [own].into_iter().chain(place.gate.opened_to()).collect();
            return Ok(choose_tenant(&tenants, host, login));
        }
        None => &place.tenant.tenant_id,
    };
    let tenant = place.login_tenant(app, tenant_id)?;
    let client = clients::ensure(app, &place, &tenant, Address::of(request)).await?;
    let state = State {
        network: place.gate.network().to_owned(),
        host: host.to_owned(),
        tenant_id: tenant.tenant_id.clone(),
        client_id: client.client_id,
        verifier: token::random_token()?,
        expires: State::end(),
        login: login.to_owned(),
    };
    let sealed = state.seal(&app.keys, place.gate.uid())?;
    let challenge = token::digest_text(&state.verifier);
    let url = OAuth::authorize_url(&tenant, &state.client_id, &client.callback_url, &sealed, &challenge);
    Ok(found(url.as_str()))
}
