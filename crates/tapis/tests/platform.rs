//! The library against the development stand-in, in this process.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dev_tapis::tokens::{Kind, Subject};
use dev_tapis::{InProcess, Platform};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tapis::{Actor, ActorKind, AuthError, RequestIdentity, Tapis, TapisConfig, TokenError};

struct World {
    platform: InProcess,
}

impl World {
    fn start() -> Self {
        let platform = InProcess::start(|address| {
            format!(
                r#"
                site_id = "dev"
                tenants = [
                    {{ tenant_id = "dev", base_url = "http://dev.localhost:8080" }},
                    {{ tenant_id = "two-b", base_url = "http://two-b.localhost:8080" }},
                    {{ tenant_id = "admin", base_url = "http://{address}", admin = true }},
                    {{ tenant_id = "far", base_url = "http://far.localhost:8080", site_id = "far" }},
                ]
                users = [{{ username = "alice", password = "wonder", roles = ["from_config"] }}]
                services = [{{ name = "pods", password = "podspw" }}]
                sites = [
                    {{ site_id = "dev", primary = true, tenant_base_url_template = "https://${{tenant_id}}.tapis.test" }},
                    {{ site_id = "far", services = ["pods"] }},
                ]
                "#
            )
        });
        Self { platform: platform.unwrap() }
    }

    fn platform(&self) -> &Platform {
        self.platform.platform()
    }

    fn config(&self) -> TapisConfig {
        let mut config = TapisConfig::at(format!("http://{}", self.platform.address()).parse().unwrap());
        config.service_password = "podspw".to_owned().into();
        // The platform runs in this process, which a busy machine lets wait.
        config.request_timeout_seconds = 60;
        config
    }

    fn tapis(&self) -> Tapis {
        Tapis::new(&self.config(), "dev").unwrap()
    }

    fn eager_tapis(&self) -> Tapis {
        Tapis::new(&TapisConfig { key_refresh_min_seconds: 0, ..self.config() }, "dev").unwrap()
    }

    fn subject(&self, tenant: &str, user: &str, target_site: Option<&str>) -> Subject {
        Subject {
            tenant_id: tenant.into(),
            username: user.into(),
            target_site: target_site.map(Into::into),
            client_id: None,
            grant_type: "password",
        }
    }

    fn token(&self, tenant: &str, user: &str) -> String {
        self.platform().mint(&self.subject(tenant, user, None), Kind::Access, 600).unwrap()
    }

    /// A token of the tenant `dev` with any claims, signed by `key_tenant`.
    fn signed(&self, key_tenant: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = good_claims();
        change(&mut claims);
        let key = self.platform().key(key_tenant).unwrap();
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key.encoding).unwrap()
    }
}

fn good_claims() -> Value {
    json!({
        "sub": "alice@dev", "iss": "x", "jti": "j", "exp": 32_503_680_000_u64,
        "tapis/tenant_id": "dev", "tapis/username": "alice", "tapis/account_type": "user",
        "tapis/token_type": "access",
    })
}

fn at<'a>(host: &'a str, token: &'a str) -> RequestIdentity<'a> {
    RequestIdentity { host: Some(host), token: Some(token), ..RequestIdentity::default() }
}

async fn rejection(tapis: &Tapis, token: &str) -> AuthError {
    tapis.authenticate(&at("dev.localhost:8080", token)).await.unwrap_err()
}

/// Looks again and again until there is something to see, for ten seconds at most.
async fn eventually<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "nothing to see within ten seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_users_token_acts_in_its_tenant() {
    let world = World::start();
    let tapis = world.tapis();
    let token = world.token("dev", "alice");
    let expires_at = tapis.verifier().verify(&token).await.unwrap().expires_at;
    let expected = Actor {
        tenant_id: "dev".into(),
        site_id: "dev".into(),
        username: "alice".into(),
        kind: ActorKind::User,
        expires_at,
    };
    for host in ["dev.localhost:8080", "DEV.localhost", "dev.tapis.test"] {
        assert_eq!(tapis.authenticate(&at(host, &token)).await.unwrap(), expected, "{host}");
    }
    let error = tapis.authenticate(&at("two-b.localhost:8080", &token)).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (403, "token_of_other_tenant"));
    let error = tapis.authenticate(&at("nobody.localhost", &token)).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (404, "host_unknown"));
    let far = world.token("far", "alice");
    assert_eq!(tapis.authenticate(&at("far.localhost", &far)).await.unwrap_err().status(), 403);
    let none = RequestIdentity { host: Some("dev.localhost"), ..RequestIdentity::default() };
    assert_eq!(tapis.authenticate(&none).await.unwrap_err(), AuthError::MissingToken);
    assert_eq!(tapis.authenticate(&at("dev.localhost", "")).await.unwrap_err(), AuthError::MissingToken);
}

#[tokio::test]
async fn bad_tokens_are_refused_with_the_reason() {
    let world = World::start();
    let tapis = world.eager_tapis();
    let refresh = world.platform().mint(&world.subject("dev", "alice", None), Kind::Refresh, 600).unwrap();
    let expired = world.platform().mint(&world.subject("dev", "alice", None), Kind::Access, -1).unwrap();
    let good = world.token("dev", "alice");
    let public = world.platform().key("dev").unwrap().public_pem;
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned =
        |alg: &str| format!("{}.{}.", part(json!({"alg": alg, "typ": "JWT"})), part(good_claims()));
    let hmac = |key: &str| {
        let key = EncodingKey::from_secret(key.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &good_claims(), &key).unwrap()
    };
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _payload) = head.split_once('.').unwrap();
    let other_payload = format!("{header}.{}.{signature}", part(good_claims()));
    let in_ps256 = {
        let key = world.platform().key("dev").unwrap();
        jsonwebtoken::encode(&Header::new(Algorithm::PS256), &good_claims(), &key.encoding).unwrap()
    };
    let cases = [
        ("refresh token", refresh, TokenError::NotAccess),
        ("expired", expired, TokenError::Expired),
        ("no exp", world.signed("dev", |claims| claims["exp"] = Value::Null), TokenError::Claims),
        ("exp is text", world.signed("dev", |claims| claims["exp"] = json!("soon")), TokenError::Claims),
        (
            "not yet",
            world.signed("dev", |claims| claims["nbf"] = json!(32_503_680_000_u64)),
            TokenError::NotYetValid,
        ),
        ("audience", world.signed("dev", |claims| claims["aud"] = json!("pods")), TokenError::Audience),
        ("key of another tenant", world.signed("two-b", |_| ()), TokenError::Signature),
        (
            "unknown tenant",
            world.signed("dev", |claims| claims["tapis/tenant_id"] = json!("x")),
            TokenError::UnknownTenant,
        ),
        (
            "no tenant",
            world.signed("dev", |claims| claims["tapis/tenant_id"] = Value::Null),
            TokenError::Claims,
        ),
        ("alg none", unsigned("none"), TokenError::Algorithm),
        ("RS256 without signature", unsigned("RS256"), TokenError::Signature),
        ("HS256 with the public key", hmac(&public), TokenError::Algorithm),
        ("HS256 with the trimmed public key", hmac(public.trim()), TokenError::Algorithm),
        ("PS256 with the right key", in_ps256, TokenError::Algorithm),
        ("payload exchanged", other_payload, TokenError::Signature),
        ("cut off", good[..good.len() - 10].to_owned(), TokenError::Signature),
        ("no JWT", "hello".to_owned(), TokenError::Malformed),
    ];
    for (name, token, expected) in cases {
        let error = rejection(&tapis, &token).await;
        assert_eq!(error, AuthError::Token(expected), "{name}");
        assert_eq!(error.status(), 401, "{name}");
    }
    assert!(tapis.authenticate(&at("dev.localhost", &good)).await.is_ok());
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_time() {
    let world = World::start();
    let tapis = world.tapis();
    // The keys are made and the list of tenants is read before the time begins.
    assert!(tapis.authenticate(&at("dev.localhost", &world.token("dev", "alice"))).await.is_ok());
    let token = world.platform().mint(&world.subject("dev", "alice", None), Kind::Access, 4).unwrap();
    assert!(tapis.authenticate(&at("dev.localhost", &token)).await.is_ok());
    let refused = eventually(async || tapis.authenticate(&at("dev.localhost", &token)).await.err()).await;
    assert_eq!(refused, AuthError::Token(TokenError::Expired));
}

#[tokio::test]
async fn a_new_key_is_picked_up_and_the_old_one_forgotten() {
    let world = World::start();
    let tapis = world.eager_tapis();
    let old = world.token("dev", "alice");
    assert!(tapis.authenticate(&at("dev.localhost", &old)).await.is_ok());
    world.platform().rotate_key("dev").unwrap();
    let new = world.token("dev", "alice");
    assert!(tapis.authenticate(&at("dev.localhost", &new)).await.is_ok());
    assert_eq!(rejection(&tapis, &old).await, AuthError::Token(TokenError::Signature));
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_list_be_read_all_the_time() {
    let world = World::start();
    let tapis = world.tapis();
    assert!(tapis.authenticate(&at("dev.localhost", &world.token("dev", "alice"))).await.is_ok());
    world.platform().rotate_key("dev").unwrap();
    let new = world.token("dev", "alice");
    assert_eq!(rejection(&tapis, &new).await, AuthError::Token(TokenError::Signature));
    tapis.directory().refresh().await.unwrap();
    assert!(tapis.authenticate(&at("dev.localhost", &new)).await.is_ok());
}

#[tokio::test]
async fn services_act_on_behalf_of_users() {
    let world = World::start();
    let tapis = world.tapis();
    let mint = |site| {
        let subject = world.subject("admin", "workflows", Some(site));
        world.platform().mint(&subject, Kind::Access, 600).unwrap()
    };
    let (token, for_other_site) = (mint("dev"), mint("far"));
    let request = RequestIdentity {
        host: Some("127.0.0.1"),
        token: Some(&token),
        on_behalf_tenant: Some("dev"),
        on_behalf_user: Some("alice"),
    };
    let actor = tapis.authenticate(&request).await.unwrap();
    assert_eq!((actor.tenant_id.as_str(), actor.username.as_str()), ("dev", "alice"));
    assert_eq!(actor.kind, ActorKind::OnBehalf { service: "workflows".into() });
    let status = async |request| tapis.authenticate(&request).await.unwrap_err().status();
    assert_eq!(status(RequestIdentity { on_behalf_user: None, ..request }).await, 401);
    assert_eq!(status(RequestIdentity { on_behalf_tenant: Some("nowhere"), ..request }).await, 400);
    assert_eq!(status(RequestIdentity { on_behalf_tenant: Some("far"), ..request }).await, 403);
    assert_eq!(status(RequestIdentity { token: Some(&for_other_site), ..request }).await, 401);
    let user = world.token("dev", "alice");
    assert_eq!(
        status(RequestIdentity { token: Some(&user), host: Some("dev.localhost"), ..request }).await,
        401
    );
}

#[tokio::test]
async fn roles_come_from_the_security_kernel_and_an_outage_is_unknown() {
    let world = World::start();
    let tapis = Tapis::new(&TapisConfig { role_cache_seconds: 1, ..world.config() }, "dev").unwrap();
    let actor = |username: &str| Actor {
        tenant_id: "dev".into(),
        site_id: "dev".into(),
        username: username.into(),
        kind: ActorKind::User,
        expires_at: i64::MAX,
    };
    assert!(!tapis.is_admin(&actor("bob")).await.unwrap());
    world.platform().grant_roles("dev", "carol", &["pods_admin".to_owned()]).unwrap();
    assert!(tapis.is_admin(&actor("carol")).await.unwrap());
    assert!(!tapis.roles().has_role("two-b", "carol", "pods_admin").await.unwrap());
    assert_eq!(tapis.roles().roles_of("dev", "alice").await.unwrap().as_ref(), ["from_config"]);
    assert!(!tapis.is_admin(&actor("a/../carol")).await.unwrap());

    world.platform.stop().await;
    // A connection that was open may still be answered; whoever is answered about is known for a while.
    let strangers = AtomicUsize::new(0);
    let stranger = || actor(&format!("dave{}", strangers.fetch_add(1, Ordering::Relaxed)));
    eventually(async || tapis.is_admin(&stranger()).await.err()).await;
    // What it knew of carol is believed for a second, and no longer.
    eventually(async || tapis.is_admin(&actor("carol")).await.err()).await;
    let token = world.token("dev", "alice");
    assert!(tapis.authenticate(&at("dev.localhost", &token)).await.is_ok(), "tokens need no platform");
}

#[tokio::test]
async fn a_wrong_service_password_leaves_roles_unknown() {
    let world = World::start();
    let config = TapisConfig { service_password: "wrong".to_owned().into(), ..world.config() };
    assert!(Tapis::new(&config, "dev").unwrap().roles().roles_of("dev", "alice").await.is_err());
}

#[tokio::test]
async fn without_the_platform_nothing_is_decided() {
    let world = World::start();
    let tapis = world.tapis();
    world.platform.stop().await;
    let error = rejection(&tapis, &world.token("dev", "alice")).await;
    assert_eq!((error.status(), error.code()), (503, "platform_unavailable"));
    assert!(!tapis.directory().is_loaded());
}

#[tokio::test]
async fn a_remembered_token_costs_microseconds() {
    let world = World::start();
    let tapis = world.tapis();
    let token = world.token("dev", "alice");
    tapis.authenticate(&at("dev.localhost:8080", &token)).await.unwrap();
    // The quickest of many: the others also measure what else the machine does.
    let mut quickest = Duration::MAX;
    for _ in 0..2000 {
        let start = Instant::now();
        tapis.authenticate(&at("dev.localhost:8080", &token)).await.unwrap();
        quickest = quickest.min(start.elapsed());
    }
    println!("{quickest:?} for a request");
    assert!(quickest < Duration::from_micros(500), "{quickest:?}, in a debug build");
}

#[tokio::test]
async fn a_token_counts_until_its_user_takes_it_back() {
    let world = World::start();
    let tapis = world.tapis();
    let tenant = tapis.directory().find_tenant("admin").await.unwrap().unwrap();
    let (kept, revoked) = (world.token("admin", "alice"), world.token("admin", "alice"));
    world.platform().revoke_token(&revoked).unwrap();
    assert!(tapis.verifier().verify(&revoked).await.is_ok(), "it does not say so itself");
    assert!(tapis.is_still_good(&tenant, &kept).await);
    assert!(!tapis.is_still_good(&tenant, &revoked).await);
    world.platform().revoke_token(&kept).unwrap();
    assert!(tapis.is_still_good(&tenant, &kept).await, "the answer counts for a minute");
    assert!(!world.tapis().is_still_good(&tenant, &kept).await);
    let unknown = world.token("admin", "alice");
    world.platform.stop().await;
    assert!(tapis.is_still_good(&tenant, &unknown).await, "nobody can say");
    assert!(!tapis.is_still_good(&tenant, &revoked).await, "this one is known");
}
