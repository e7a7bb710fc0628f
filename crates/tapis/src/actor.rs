//! Who acts, and for which tenant. Pure.

use crate::claims::{AccountType, Claims, is_usable_username};
use crate::error::{AuthError, TokenError};
use crate::tenant::{Tenant, TenantList};

/// What a request says about itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestIdentity<'a> {
    /// The header `Host` (or `X-Forwarded-Host`, if it comes from a proxy that may set it); a port is ignored.
    pub host: Option<&'a str>,
    /// The header `X-Tapis-Token`.
    pub token: Option<&'a str>,
    /// The header `X-Tapis-Tenant`.
    pub on_behalf_tenant: Option<&'a str>,
    /// The header `X-Tapis-User`.
    pub on_behalf_user: Option<&'a str>,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The tenant of the request.
    pub tenant_id: String,
    /// That tenant's site.
    pub site_id: String,
    /// The user whose rights count.
    pub username: String,
    /// How the user comes to act.
    pub kind: ActorKind,
    /// When the token's time is over, in seconds since 1970.
    pub expires_at: i64,
}

/// How a user comes to act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActorKind {
    /// With a token of their own.
    User,
    /// Through a Tapis service.
    OnBehalf {
        /// The service, for the audit log.
        service: String,
    },
}

/// What this installation is and allows.
#[derive(Debug, Clone)]
pub struct ResolveRules {
    /// Its site.
    pub site_id: String,
    /// Its name among the services of a site.
    pub service_name: String,
    /// May a user token choose the tenant when the host belongs to none?
    pub fallback_to_token_tenant: bool,
}

/// Decides who acts, from verified claims and what the request says.
///
/// A user acts in the tenant of the host, which must be the token's. A service acts for the user and the tenant that it names,
/// with a token made for our site. Tenants of another site are served by the primary site alone, and only if the other site does
/// not run this service itself.
///
/// # Errors
/// When nobody may act; the error says what to do.
pub fn resolve_actor(
    list: &TenantList,
    rules: &ResolveRules,
    request: &RequestIdentity<'_>,
    claims: &Claims,
) -> Result<Actor, AuthError> {
    let (tenant, username, kind) = match claims.account_type {
        AccountType::User => {
            let tenant = tenant_of_user(list, rules, request, claims)?;
            (tenant, claims.username.clone(), ActorKind::User)
        }
        AccountType::Service => {
            let (tenant, username) = named_by_service(list, rules, request, claims)?;
            (tenant, username.to_owned(), ActorKind::OnBehalf { service: claims.username.clone() })
        }
    };
    if !is_served(list, rules, tenant) {
        return Err(AuthError::TenantNotServed { tenant: tenant.tenant_id.clone() });
    }
    Ok(Actor {
        tenant_id: tenant.tenant_id.clone(),
        site_id: tenant.site_id.clone(),
        username,
        kind,
        expires_at: claims.expires_at,
    })
}

fn tenant_of_user<'a>(
    list: &'a TenantList,
    rules: &ResolveRules,
    request: &RequestIdentity<'_>,
    claims: &Claims,
) -> Result<&'a Tenant, AuthError> {
    if request.on_behalf_tenant.is_some() || request.on_behalf_user.is_some() {
        return Err(AuthError::OnBehalfByUser);
    }
    match request.host.and_then(|host| list.tenant_of_host(host)) {
        Some(tenant) if tenant.tenant_id == claims.tenant_id => Ok(tenant),
        Some(tenant) => Err(AuthError::OtherTenant {
            token_tenant: claims.tenant_id.clone(),
            host_tenant: tenant.tenant_id.clone(),
        }),
        None if rules.fallback_to_token_tenant => {
            let tenant = list.tenant(&claims.tenant_id).ok_or(TokenError::UnknownTenant)?;
            Ok(tenant)
        }
        None => Err(AuthError::UnknownHost),
    }
}

fn named_by_service<'a, 'r>(
    list: &'a TenantList,
    rules: &ResolveRules,
    request: &RequestIdentity<'r>,
    claims: &Claims,
) -> Result<(&'a Tenant, &'r str), AuthError> {
    let (Some(tenant_id), Some(username)) = (request.on_behalf_tenant, request.on_behalf_user) else {
        return Err(AuthError::OnBehalfIncomplete);
    };
    if claims.target_site.as_deref() != Some(rules.site_id.as_str()) {
        return Err(AuthError::OtherSite);
    }
    if !is_usable_username(username) {
        return Err(AuthError::BadOnBehalfUser);
    }
    let tenant = list.tenant(tenant_id).ok_or(AuthError::UnknownOnBehalfTenant)?;
    Ok((tenant, username))
}

fn is_served(list: &TenantList, rules: &ResolveRules, tenant: &Tenant) -> bool {
    if tenant.site_id == rules.site_id {
        return true;
    }
    let we_are_primary = list.site(&rules.site_id).is_some_and(|site| site.primary);
    we_are_primary
        && list.site(&tenant.site_id).is_some_and(|site| !site.services.contains(&rules.service_name))
}

#[cfg(test)]
mod tests {
    use super::{Actor, ActorKind, RequestIdentity, ResolveRules, resolve_actor};
    use crate::claims::{AccountType, Claims};
    use crate::error::AuthError;
    use crate::tenant::TenantList;
    use crate::tenant::tests::{raw, site};

    fn list() -> TenantList {
        TenantList::new(
            vec![
                raw("dev", "a", "https://dev.tapis.test"),
                raw("other", "a", "https://other.tapis.test"),
                raw("guest", "b", "https://guest.example"),
                raw("rich", "c", "https://rich.example"),
            ],
            vec![site("a", true, &["pods"]), site("b", false, &["files"]), site("c", false, &["pods"])],
        )
    }

    fn rules(site_id: &str, fallback_to_token_tenant: bool) -> ResolveRules {
        ResolveRules { site_id: site_id.into(), service_name: "pods".into(), fallback_to_token_tenant }
    }

    fn claims(tenant_id: &str, username: &str, target_site: Option<&str>) -> Claims {
        Claims {
            tenant_id: tenant_id.into(),
            username: username.into(),
            account_type: if target_site.is_some() { AccountType::Service } else { AccountType::User },
            target_site: target_site.map(Into::into),
            delegation: false,
            client_id: None,
            jti: None,
            expires_at: i64::MAX,
        }
    }

    fn request<'a>(host: &'a str, tenant: Option<&'a str>, user: Option<&'a str>) -> RequestIdentity<'a> {
        RequestIdentity { host: Some(host), token: None, on_behalf_tenant: tenant, on_behalf_user: user }
    }

    fn user_at(site: &str, fallback: bool, tenant: &str, host: &str) -> Result<Actor, AuthError> {
        resolve_actor(
            &list(),
            &rules(site, fallback),
            &request(host, None, None),
            &claims(tenant, "alice", None),
        )
    }

    fn service(
        my_site: &str,
        target: &str,
        tenant: Option<&str>,
        user: Option<&str>,
    ) -> Result<Actor, AuthError> {
        let claims = claims("admin", "workflows", Some(target));
        resolve_actor(&list(), &rules(my_site, false), &request("anything", tenant, user), &claims)
    }

    #[test]
    fn users_act_in_the_tenant_of_the_host() {
        let actor = user_at("a", false, "dev", "dev.tapis.test:8080").unwrap();
        assert_eq!(
            actor,
            Actor {
                tenant_id: "dev".into(),
                site_id: "a".into(),
                username: "alice".into(),
                kind: ActorKind::User,
                expires_at: i64::MAX,
            }
        );
        let error = user_at("a", false, "other", "dev.tapis.test").unwrap_err();
        assert_eq!((error.status(), error.code()), (403, "token_of_other_tenant"));
        let error = user_at("a", false, "dev", "127.0.0.1").unwrap_err();
        assert_eq!((error.status(), error.code()), (404, "host_unknown"));
        assert!(user_at("a", true, "dev", "127.0.0.1").is_ok());
        assert_eq!(user_at("a", true, "other", "dev.tapis.test").unwrap_err().status(), 403);
    }

    #[test]
    fn users_may_not_act_for_others() {
        for (tenant, user) in [(Some("dev"), Some("bob")), (Some("dev"), None), (None, Some("alice"))] {
            let request = request("dev.tapis.test", tenant, user);
            let answer = resolve_actor(&list(), &rules("a", true), &request, &claims("dev", "alice", None));
            assert_eq!(answer.unwrap_err(), AuthError::OnBehalfByUser);
        }
    }

    #[test]
    fn other_sites_are_served_by_the_primary_only_and_only_without_pods_of_their_own() {
        assert!(user_at("a", false, "guest", "guest.example").is_ok());
        assert!(user_at("a", false, "guest", "guest.tapis.test").is_ok());
        assert_eq!(user_at("a", false, "rich", "rich.example").unwrap_err().status(), 403);
        assert!(user_at("c", false, "rich", "rich.example").is_ok());
        assert_eq!(user_at("c", false, "guest", "guest.example").unwrap_err().status(), 403);
        assert_eq!(user_at("b", false, "dev", "dev.tapis.test").unwrap_err().status(), 403);
    }

    #[test]
    fn services_act_for_the_user_they_name() {
        let actor = service("a", "a", Some("dev"), Some("bob")).unwrap();
        assert_eq!(actor.username, "bob");
        assert_eq!(actor.kind, ActorKind::OnBehalf { service: "workflows".into() });
        assert!(service("a", "a", Some("guest"), Some("bob")).is_ok());
    }

    #[test]
    fn every_refusal_of_a_service() {
        for (target, tenant, user, status, code) in [
            ("a", None, None, 401, "on_behalf_incomplete"),
            ("a", Some("dev"), None, 401, "on_behalf_incomplete"),
            ("a", None, Some("bob"), 401, "on_behalf_incomplete"),
            ("b", Some("dev"), Some("bob"), 401, "token_of_other_site"),
            ("a", Some("nowhere"), Some("bob"), 400, "on_behalf_tenant_unknown"),
            ("a", Some("dev"), Some("b*b"), 400, "on_behalf_user_invalid"),
            ("a", Some("dev"), Some(""), 400, "on_behalf_user_invalid"),
            ("a", Some("rich"), Some("bob"), 403, "tenant_not_served"),
        ] {
            let error = service("a", target, tenant, user).unwrap_err();
            assert_eq!((error.status(), error.code()), (status, code), "{target} {tenant:?} {user:?}");
        }
    }
}
