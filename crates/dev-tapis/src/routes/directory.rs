//! The Tenants API: sites and tenants.

use actix_web::web::Path;
use serde_json::{Value, json};

use super::Shared;
use crate::Platform;
use crate::config::{Site, Tenant, without_slash};
use crate::reply::{Failure, Reply, ok};

pub async fn sites(platform: Shared) -> Reply {
    let sites: Vec<Value> =
        platform.config().sites.iter().map(|site| describe_site(&platform, site)).collect();
    ok("sites retrieved", sites)
}

pub async fn tenants(platform: Shared) -> Reply {
    let tenants = platform.config().tenants.iter().map(|tenant| describe_tenant(&platform, tenant));
    ok("tenants retrieved", tenants.collect::<Result<Vec<_>, _>>()?)
}

pub async fn tenant(platform: Shared, tenant_id: Path<String>) -> Reply {
    let tenant = platform
        .config()
        .tenant(&tenant_id)
        .ok_or_else(|| Failure::not_found(format!("there is no tenant {tenant_id}")))?;
    ok("tenant retrieved", describe_tenant(&platform, tenant)?)
}

fn describe_site(platform: &Platform, site: &Site) -> Value {
    let admin = platform.config().admin_tenant(&site.site_id);
    let base_url = site.base_url.as_ref().or(admin.map(|tenant| &tenant.base_url)).map(without_slash);
    json!({
        "site_id": site.site_id,
        "primary": site.primary,
        "base_url": base_url,
        "services": site.services,
        "tenant_base_url_template": site.tenant_base_url_template,
        "site_admin_tenant_id": admin.map(|tenant| &tenant.tenant_id),
    })
}

fn describe_tenant(platform: &Platform, tenant: &Tenant) -> Result<Value, Failure> {
    let site_id = platform.config().site_of(tenant);
    let services = platform.config().admin_tenant(site_id).unwrap_or(tenant);
    Ok(json!({
        "tenant_id": tenant.tenant_id,
        "site_id": site_id,
        "base_url": without_slash(&tenant.base_url),
        "public_key": platform.key(&tenant.tenant_id)?.public_pem,
        "token_service": format!("{}/v3/tokens", without_slash(&services.base_url)),
        "security_kernel": format!("{}/v3/security", without_slash(&services.base_url)),
        "authenticator": format!("{}/v3/oauth2", without_slash(&tenant.base_url)),
        "admin_user": "admin",
        "owner": "dev@example.invalid",
        "status": "active",
        "description": "A tenant of the development stand-in",
        "token_gen_services": [],
    }))
}
