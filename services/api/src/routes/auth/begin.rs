//! From the pod to the platform's login page.

use actix_web::{HttpRequest, HttpResponse};
use pods_core::visitor::paths::WELL_KNOWN;
use pods_db::logins::states::{self, LoginState};
use pods_secrets::{Aad, token};
use tapis::OAuth;

use super::{
    LOGIN_MAX, STATE_LIFE, clients, found,
    place::{Place, on_pod},
    refusal::Refusal,
};
use crate::{
    edge::auth::{page::choose_tenant, request::wants_html},
    query::Query,
    state::AppState,
};

/// What the code verifier is sealed for.
pub(super) const VERIFIER: &str = "login verifier";

pub(super) async fn begin(
    app: &AppState,
    request: &HttpRequest,
    pod_id_net: &str,
    query: &Query,
) -> Result<HttpResponse, Refusal> {
    let place = Place::find(app, request, pod_id_net).await?;
    let host = place.host(query.last("host"))?;
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
    // Anybody may come here, and each visit is a row and perhaps a request to the platform.
    app.http.rate_limit.check(&place.tenant.tenant_id, &format!("login at {}", place.gate.uid()))?;
    let client = clients::ensure(app, &place, &tenant).await?;
    let (state, verifier) = (token::random_token()?, token::random_token()?);
    let sealed = app.keys.seal(Aad { uid: place.gate.uid(), column: VERIFIER }, verifier.as_bytes())?;
    let row = LoginState {
        pod_uid: place.gate.uid(),
        network: place.gate.network().to_owned(),
        host: host.to_owned(),
        tenant_id: tenant.tenant_id.clone(),
        client_id: client.client_id,
        key_id: sealed.key_id,
        sealed: sealed.bytes,
        login: login.to_owned(),
    };
    states::put(&mut *app.db.get().await?, &token::digest(&state), &row, STATE_LIFE).await?;
    let challenge = token::digest_text(&verifier);
    let url = OAuth::authorize_url(&tenant, &row.client_id, &client.callback_url, &state, &challenge);
    Ok(found(url.as_str()))
}
