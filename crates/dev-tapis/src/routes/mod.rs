//! Every route, in one list.

mod authorize;
mod clients;
mod directory;
mod login;
mod services;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use crate::reply::{Failure, Reply};

/// Where a configured platform is found by handlers.
pub(crate) type Shared = web::Data<crate::Platform>;

pub fn configure(app: &mut ServiceConfig) {
    app.route("/", web::get().to(start_page))
        .route("/healthz", web::get().to(async || HttpResponse::Ok().body("ok\n")))
        .route("/v3/sites", web::get().to(directory::sites))
        .route("/v3/tenants", web::get().to(directory::tenants))
        .route("/v3/tenants/{tenant_id}", web::get().to(directory::tenant))
        .route("/v3/oauth2/tokens", web::post().to(login::tokens))
        .route("/v3/oauth2/userinfo", web::get().to(login::userinfo))
        .route("/v3/oauth2/profiles/{username}", web::get().to(login::profile))
        .route("/v3/oauth2/authorize", web::get().to(authorize::page))
        .route("/v3/oauth2/authorize", web::post().to(authorize::log_in))
        .route("/v3/oauth2/clients", web::get().to(clients::list))
        .route("/v3/oauth2/clients", web::post().to(clients::create))
        .route("/v3/oauth2/clients/{client_id}", web::get().to(clients::get))
        .route("/v3/oauth2/clients/{client_id}", web::put().to(clients::update))
        .route("/v3/oauth2/clients/{client_id}", web::delete().to(clients::delete))
        .route("/v3/tokens", web::post().to(services::create_token))
        .route("/v3/tokens", web::put().to(services::refresh_token))
        .route("/v3/tokens/revoke", web::post().to(services::revoke_token))
        .route("/v3/security/user/roles/{username}", web::get().to(services::roles))
        .default_service(web::to(unknown));
}

async fn unknown(request: HttpRequest) -> Reply {
    Err(Failure::not_found(format!(
        "the development stand-in has no {} {}",
        request.method(),
        request.path()
    )))
}

async fn start_page(platform: Shared) -> HttpResponse {
    let mut text = String::from(
        "dev-tapis: a stand-in for the Tapis platform, for development only.\n\
         It keeps passwords in plain text; never run it where anybody else can reach it.\n\nTenants:\n",
    );
    for tenant in &platform.config().tenants {
        text.push_str(&format!(
            "  {}  {}\n",
            tenant.tenant_id,
            crate::config::without_slash(&tenant.base_url)
        ));
    }
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text)
}
