//! Who is asking: naming [`Caller`] in a handler's signature is the authentication.

use std::{future::Future, pin::Pin, time::SystemTime};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::HOST, web::Data};
use pods_core::{
    Tenant,
    permission::{self, Action},
};
use tapis::{Actor, AuthError, RequestIdentity};

use crate::{error::ApiError, metrics, middleware::request_id, sse, state::AppState};

/// An authenticated caller in the tenant of the request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The tenant in which the request acts.
    pub tenant: Tenant,
    /// Host of the tenant's base URL, for the host names of pods.
    pub tenant_host: String,
    /// The acting user.
    pub username: String,
    /// Holds the administrator role and asked for its powers with `X-Pods-Admin: true`.
    pub admin_mode: bool,
    actor: Actor,
}

impl Caller {
    /// What permission decisions need, for actions that any role-less user may be allowed.
    pub fn rights(&self) -> permission::Caller {
        permission::Caller { admin_role: self.admin_mode, admin_mode: self.admin_mode }
    }

    /// The same with the administrator role looked up, for actions that are the administrators'.
    ///
    /// # Errors
    /// 503 when the Security Kernel cannot be asked.
    pub async fn rights_with_role(&self, app: &AppState) -> Result<permission::Caller, ApiError> {
        let admin_role = self.admin_mode || app.tapis.is_admin(&self.actor).await?;
        Ok(permission::Caller { admin_role, admin_mode: self.admin_mode })
    }

    /// What the decision about `action` needs: the role is looked up only when the action asks for it.
    ///
    /// # Errors
    /// As [`Caller::rights_with_role`].
    pub async fn rights_for(&self, app: &AppState, action: Action) -> Result<permission::Caller, ApiError> {
        if action.needs_role() { self.rights_with_role(app).await } else { Ok(self.rights()) }
    }

    /// Returns when the caller has lost the role whose powers are used here, for what goes on after the request. While the
    /// Security Kernel does not say, nobody has lost it.
    pub async fn role_withdrawn(&self, app: &AppState) {
        if !self.admin_mode {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(app.streams.limits().recheck).await;
            if matches!(app.tapis.is_admin(&self.actor).await, Ok(false)) {
                return;
            }
        }
    }

    /// When the caller's token expires.
    pub fn expires_at(&self) -> SystemTime {
        sse::moment(self.actor.expires_at)
    }

    /// Who did it, as action logs begin their lines: `'ann'`, or `ADMIN 'ann'` for an administrator who uses the role's
    /// powers.
    pub fn label(&self) -> String {
        match self.admin_mode {
            true => format!("ADMIN '{}'", self.username),
            false => format!("'{}'", self.username),
        }
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { authenticate(&request).await })
    }
}

async fn authenticate(request: &HttpRequest) -> Result<Caller, ApiError> {
    let app = request
        .app_data::<Data<AppState>>()
        .ok_or_else(|| ApiError::Internal(anyhow::anyhow!("the application state is not registered")))?;
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    // HTTP/2 has no Host header; actix fills the authority into the URI.
    let host =
        header(HOST.as_str()).or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let identity = RequestIdentity {
        host,
        token: header("x-tapis-token"),
        on_behalf_tenant: header("x-tapis-tenant"),
        on_behalf_user: header("x-tapis-user"),
    };
    let actor = app.tapis.authenticate(&identity).await?;
    request_id::record_caller(&actor.tenant_id, &actor.username);
    app.http.rate_limit.check(&actor.tenant_id, &actor.username).inspect_err(|_| metrics::rate_limited())?;
    let tenant_host = app
        .tapis
        .directory()
        .tenant(&actor.tenant_id)
        .map(|tenant| tenant.host().to_owned())
        .ok_or(ApiError::Auth(AuthError::MissingToken))?;
    let admin_mode = match header("x-pods-admin").and_then(pods_core::input::boolean_word) {
        Some(true) if !app.tapis.is_admin(&actor).await? => return Err(ApiError::NotAdmin),
        asked => asked == Some(true),
    };
    Ok(Caller {
        tenant: Tenant::new(&actor.site_id, &actor.tenant_id),
        tenant_host,
        username: actor.username.clone(),
        admin_mode,
        actor,
    })
}
