//! From the platform's login page back to the pod.

use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use pods_core::{
    Tenant,
    permission::{self, Action, Caller},
    visitor::{self, Gate, Visitor, paths::WELL_KNOWN},
};
use pods_db::logins::{
    clients as stored, states,
    tickets::{self, Ticket},
};
use pods_secrets::token;
use secrecy::ExposeSecret;
use tapis::{AccountType, Claims, Exchange, ExchangeError, TokenError};

use super::{
    ANSWER_MAX, TICKET_LIFE, clients, found,
    place::{Place, on_pod},
    refusal::Refusal,
    state::State,
    turns::{self, Address},
};
use crate::{query::Query, state::AppState};

pub(super) async fn callback(
    app: &AppState,
    request: &HttpRequest,
    pod_id_net: &str,
    query: &Query,
) -> Result<HttpResponse, Refusal> {
    let address = Address::of(request);
    let place = turns::look(address, Place::find(app, request, pod_id_net)).await?;
    let gate = &place.gate;
    let parameter = |name| query.last(name).filter(|text| !text.is_empty() && text.len() <= ANSWER_MAX);
    let state = parameter("state").and_then(|text| State::open(&app.keys, gate.uid(), text));
    let of_this_place = |state: &State| state.network == gate.network() && gate.hosts().contains(&state.host);
    let state = state.filter(of_this_place).ok_or(Refusal::Broken)?;
    // Without a code the visitor turned back, or the platform did not know what to do.
    let code = parameter("code").ok_or(Refusal::Broken)?;
    if place.is_open() {
        return Ok(found(&on_pod(app, &state.host, "/")));
    }
    if states::is_used(&mut *app.db.get().await?, &state.hash()).await? {
        return Err(Refusal::Broken);
    }
    let tenant = place.login_tenant(app, &state.tenant_id)?;
    let claims = who(app, &place, &tenant, (&state, code), address).await?;
    let visitor = Visitor {
        tenant: Tenant::new(&tenant.site_id, &claims.tenant_id),
        username: claims.username.clone(),
    };
    if !may_log_in(gate, &visitor) {
        return Err(Refusal::NotAllowed(visitor.username));
    }
    let row = Ticket {
        pod_uid: gate.uid(),
        network: state.network.clone(),
        host: state.host.clone(),
        visitor,
        token_expires: moment(claims.expires_at),
    };
    let ticket = token::random_token()?;
    let conn = &mut *app.db.get().await?;
    // Nothing was written before the platform named somebody: strangers fill no table.
    if !states::use_up(conn, &state.hash(), moment(state.expires)).await? {
        return Err(Refusal::Broken);
    }
    let (hash, login) = (token::digest(&ticket), token::digest(&state.login));
    if !tickets::put(conn, &hash, &login, &row, TICKET_LIFE).await? {
        return Err(Refusal::Unknown);
    }
    let session = format!("{WELL_KNOWN}session?ticket={ticket}&login={}", state.login);
    Ok(found(&on_pod(app, &row.host, &session)))
}

/// Whoever may read the pod logs in for its status pages: each request to the pod itself is decided anew.
fn may_log_in(gate: &Gate, visitor: &Visitor) -> bool {
    let reads = || permission::decide(Caller::USER, gate.personal_level(visitor), Action::ExplainPod).is_ok();
    !gate.tapis_auth() || visitor::admit(gate, visitor).is_ok() || reads()
}

/// What the platform says about whoever brought the code.
async fn who(
    app: &AppState,
    place: &Place,
    tenant: &tapis::Tenant,
    (state, code): (&State, &str),
    address: Address,
) -> Result<std::sync::Arc<Claims>, Refusal> {
    let client = clients::ensure(app, place, tenant, address).await?;
    // The client was registered anew since: the code is the old one's.
    if client.client_id != state.client_id {
        return Err(Refusal::Broken);
    }
    let exchange = Exchange {
        client_id: &client.client_id,
        client_key: &client.key,
        code,
        redirect_uri: &client.callback_url,
        code_verifier: &state.verifier,
    };
    let turn = turns::platform(address, place.gate.uid(), &tenant.tenant_id).await?;
    let exchanged = app.tapis.oauth().exchange(tenant, exchange).await;
    drop(turn);
    let token = match exchanged {
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
    if expected { Ok(claims) } else { Err(Refusal::NotAllowed(claims.username.clone())) }
}

fn moment(seconds: i64) -> DateTime<Utc> {
    // No session outlives the year 9999 either.
    DateTime::from_timestamp(seconds.min(253_402_300_799), 0).unwrap_or_default()
}
