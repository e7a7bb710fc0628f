//! From the platform's login page back to the pod.

use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use pods_core::{
    Tenant,
    visitor::{self, Visitor, paths::WELL_KNOWN},
};
use pods_db::logins::{
    clients as stored,
    states::{self, LoginState},
    tickets::{self, Ticket},
};
use pods_secrets::{Aad, token};
use secrecy::ExposeSecret;
use tapis::{AccountType, Claims, Exchange, ExchangeError, TokenError};

use super::{
    ANSWER_MAX, PLATFORM, TICKET_LIFE,
    begin::VERIFIER,
    clients, found,
    place::{Place, on_pod},
    refusal::Refusal,
};
use crate::{query::Query, state::AppState};

pub(super) async fn callback(
    app: &AppState,
    request: &HttpRequest,
    pod_id_net: &str,
    query: &Query,
) -> Result<HttpResponse, Refusal> {
    let place = Place::find(app, request, pod_id_net).await?;
    let parameter = |name| query.last(name).filter(|text| !text.is_empty() && text.len() <= ANSWER_MAX);
    let state = parameter("state").ok_or(Refusal::Broken)?;
    // Taken whatever comes: it counts once.
    let state =
        states::take(&mut *app.db.get().await?, &token::digest(state)).await?.ok_or(Refusal::Broken)?;
    let gate = &place.gate;
    let of_this_place =
        state.pod_uid == gate.uid() && state.network == gate.network() && gate.hosts().contains(&state.host);
    if !of_this_place {
        return Err(Refusal::Broken);
    }
    // Without a code the visitor turned back, or the platform did not know what to do.
    let code = parameter("code").ok_or(Refusal::Broken)?;
    let tenant = place.login_tenant(app, &state.tenant_id)?;
    let claims = who(app, &place, &tenant, &state, code).await?;
    let visitor = Visitor {
        tenant: Tenant::new(&tenant.site_id, &claims.tenant_id),
        username: claims.username.clone(),
    };
    if gate.tapis_auth() && visitor::admit(gate, &visitor).is_err() {
        return Err(Refusal::NotAllowed);
    }
    let ticket = token::random_token()?;
    let row = Ticket {
        pod_uid: state.pod_uid,
        network: state.network,
        host: state.host,
        login: state.login,
        visitor,
        token_expires: moment(claims.expires_at),
    };
    if !tickets::put(&mut *app.db.get().await?, &token::digest(&ticket), &row, TICKET_LIFE).await? {
        return Err(Refusal::Unknown);
    }
    Ok(found(&on_pod(app, &row.host, &format!("{WELL_KNOWN}session?ticket={ticket}"))))
}

/// What the platform says about whoever brought the code.
async fn who(
    app: &AppState,
    place: &Place,
    tenant: &tapis::Tenant,
    state: &LoginState,
    code: &str,
) -> Result<std::sync::Arc<Claims>, Refusal> {
    let client = clients::ensure(app, place, tenant).await?;
    // The client was registered anew since: the code is the old one's.
    if client.client_id != state.client_id {
        return Err(Refusal::Broken);
    }
    let place_of_verifier = Aad { uid: state.pod_uid, column: VERIFIER };
    let verifier = app.keys.open(place_of_verifier, &state.key_id, &state.sealed)?;
    let exchange = Exchange {
        client_id: &client.client_id,
        client_key: &client.key,
        code,
        redirect_uri: &client.callback_url,
        code_verifier: std::str::from_utf8(&verifier).map_err(|_| Refusal::Broken)?,
    };
    let _turn = PLATFORM.try_acquire().map_err(|_| Refusal::Unavailable)?;
    let token = match app.tapis.oauth().exchange(tenant, exchange).await {
        Ok(token) => token,
        Err(ExchangeError::Refused) => return Err(Refusal::Broken),
        Err(ExchangeError::ClientUnknown) => {
            tracing::warn!(
                client.id = client.client_id,
                "the platform does not know an OAuth client by its key"
            );
            stored::forget_key(&mut *app.db.get().await?, &tenant.tenant_id, &client.client_id).await?;
            return Err(Refusal::Unavailable);
        }
        Err(ExchangeError::Platform(error)) => {
            tracing::warn!(error = %error, "a code cannot be exchanged");
            return Err(Refusal::Unavailable);
        }
    };
    let claims = app.tapis.verifier().verify(token.expose_secret()).await.map_err(|error| match error {
        TokenError::PlatformUnavailable => Refusal::Unavailable,
        error => {
            tracing::warn!(reason = error.code(), "the platform gave a token that is not valid");
            Refusal::Unavailable
        }
    })?;
    let expected = claims.account_type == AccountType::User && claims.tenant_id == tenant.tenant_id;
    if expected { Ok(claims) } else { Err(Refusal::NotAllowed) }
}

fn moment(seconds: i64) -> DateTime<Utc> {
    // No session outlives the year 9999 either.
    DateTime::from_timestamp(seconds.min(253_402_300_799), 0).unwrap_or_default()
}
