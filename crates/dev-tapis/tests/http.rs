//! The HTTP side: what tapipy, a browser and a service ask.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dev_tapis::InProcess;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

struct World {
    platform: InProcess,
    client: Client,
}

impl World {
    fn start() -> Self {
        let platform = InProcess::start(|address| {
            format!(
                r#"
                site_id = "dev"
                tenants = [
                    {{ tenant_id = "dev", base_url = "http://{address}" }},
                    {{ tenant_id = "admin", base_url = "http://admin.localhost", admin = true }},
                ]
                users = [{{ username = "alice", password = "wonder", roles = ["r"] }}]
                services = [{{ name = "pods", password = "podspw" }}]
                "#
            )
        });
        let client = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { platform: platform.unwrap(), client }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.platform.address())
    }

    async fn service_token(&self) -> String {
        let asked = json!({
            "token_username": "pods", "token_tenant_id": "admin", "account_type": "service",
            "access_token_ttl": 86400, "generate_refresh_token": true, "target_site_id": "dev",
        });
        let request =
            self.client.post(self.url("/v3/tokens")).basic_auth("pods", Some("podspw")).json(&asked);
        let result = result(request.send().await.unwrap()).await;
        result["access_token"]["access_token"].as_str().unwrap().to_owned()
    }
}

async fn envelope(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    let envelope: Value = response.json().await.unwrap();
    assert!(envelope["message"].is_string() && envelope["version"].is_string(), "{envelope}");
    assert!(envelope["metadata"].is_object() && envelope["status"].is_string(), "{envelope}");
    envelope
}

async fn result(response: Response) -> Value {
    let status = response.status();
    let envelope = envelope(response).await;
    assert_eq!(status, 200, "{envelope}");
    envelope["result"].clone()
}

#[tokio::test]
async fn logging_in_and_refreshing() {
    let world = World::start();
    let tokens = world.url("/v3/oauth2/tokens");
    let password = json!({"username": "alice", "password": "wonder", "grant_type": "password"});
    let first = result(world.client.post(&tokens).json(&password).send().await.unwrap()).await;
    let access = first["access_token"]["access_token"].as_str().unwrap();
    assert_eq!(first["access_token"]["expires_in"], 14400);
    let info = world.client.get(world.url("/v3/oauth2/userinfo")).header("X-Tapis-Token", access);
    assert_eq!(result(info.send().await.unwrap()).await["username"], "alice");

    let refresh = &first["refresh_token"]["refresh_token"];
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str().unwrap())];
    let second = result(world.client.post(&tokens).form(&form).send().await.unwrap()).await;
    assert!(second["access_token"]["access_token"].is_string());

    for (bad, status) in [
        (json!({"username": "alice", "password": "x", "grant_type": "password"}), 401),
        (json!({"refresh_token": access, "grant_type": "refresh_token"}), 401),
        (json!({"grant_type": "device"}), 400),
        (json!({}), 400),
    ] {
        let response = world.client.post(&tokens).json(&bad).send().await.unwrap();
        assert_eq!(response.status(), status, "{bad}");
        assert_eq!(envelope(response).await["status"], "error");
    }
    let with_refresh =
        world.client.get(world.url("/v3/oauth2/userinfo")).header("X-Tapis-Token", refresh.as_str().unwrap());
    assert_eq!(with_refresh.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_revoked_token_is_worth_nothing_and_others_go_on() {
    let world = World::start();
    let password = json!({"username": "alice", "password": "wonder", "grant_type": "password"});
    let mut access = Vec::new();
    for _ in 0..2 {
        let asked = world.client.post(world.url("/v3/oauth2/tokens")).json(&password);
        let tokens = result(asked.send().await.unwrap()).await;
        access.push(tokens["access_token"]["access_token"].as_str().unwrap().to_owned());
    }
    let status = async |token: &str| {
        let info = world.client.get(world.url("/v3/oauth2/userinfo")).header("X-Tapis-Token", token);
        info.send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(&access[0]).await, status(&access[1]).await), (200, 200));
    let revoke =
        |token: &str| world.client.post(world.url("/v3/tokens/revoke")).json(&json!({"token": token}));
    assert_eq!(revoke(&access[0]).send().await.unwrap().status(), 200);
    assert_eq!((status(&access[0]).await, status(&access[1]).await), (401, 200));
    assert_eq!(revoke("nonsense").send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_browser_gets_a_code_that_is_good_once_with_its_verifier() {
    let world = World::start();
    let service = world.service_token().await;
    let callback = "http://dev.localhost/v3/pods/p/auth/callback?x=1";
    let asked = json!({"client_id": "PODS-p", "callback_url": callback});
    let create = world.client.post(world.url("/v3/oauth2/clients")).header("X-Tapis-Token", &service);
    let create = create.header("X-Tapis-Tenant", "dev").header("X-Tapis-User", "_tapis_pods").json(&asked);
    let client = result(create.try_clone().unwrap().send().await.unwrap()).await;
    assert_eq!(create.send().await.unwrap().status(), 400, "not twice");
    let key = client["client_key"].as_str().unwrap().to_owned();

    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(b"the verifier"));
    let page = |callback: &str| {
        let query = [
            ("client_id", "PODS-p"),
            ("redirect_uri", callback),
            ("response_type", "code"),
            ("state", "s&s"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        Url::parse_with_params(&world.url("/v3/oauth2/authorize"), query).unwrap()
    };
    assert_eq!(world.client.get(page("http://evil.example/")).send().await.unwrap().status(), 400);
    let shown = world.client.get(page(callback)).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains("<form method=\"post\">"), "{shown}");
    let wrong = world.client.post(page(callback)).form(&[("username", "alice"), ("password", "x")]);
    assert!(wrong.send().await.unwrap().text().await.unwrap().contains("Wrong username"));

    let log_in = async || {
        let form = [("username", "alice"), ("password", "wonder")];
        let response = world.client.post(page(callback)).form(&form).send().await.unwrap();
        assert_eq!(response.status(), 302);
        let target = Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
        let value = |name| target.query_pairs().find(|pair| pair.0 == name).unwrap().1.into_owned();
        assert_eq!((value("x"), value("state")), ("1".to_owned(), "s&s".to_owned()));
        value("code")
    };
    let exchange = async |code: &str, key: &str, verifier: &str, callback: &str| {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", callback),
            ("code_verifier", verifier),
        ];
        let request = world.client.post(world.url("/v3/oauth2/tokens")).basic_auth("PODS-p", Some(key));
        request.form(&form).send().await.unwrap()
    };
    let code = log_in().await;
    let tokens = result(exchange(&code, &key, "the verifier", callback).await).await;
    assert!(tokens["access_token"]["access_token"].is_string());
    assert_eq!(exchange(&code, &key, "the verifier", callback).await.status(), 400, "a code is good once");
    assert_eq!(exchange(&log_in().await, &key, "another", callback).await.status(), 400);
    assert_eq!(exchange(&log_in().await, &key, "the verifier", "http://other/").await.status(), 400);
    assert_eq!(exchange(&log_in().await, "wrong", "the verifier", callback).await.status(), 401);
}

#[tokio::test]
async fn clients_belong_to_their_owner() {
    let world = World::start();
    let service = world.service_token().await;
    let ask = |method: &str, path: &str, user: &str| {
        let request = world.client.request(method.parse().unwrap(), world.url(path));
        request.header("X-Tapis-Token", &service).header("X-Tapis-Tenant", "dev").header("X-Tapis-User", user)
    };
    let create =
        ask("POST", "/v3/oauth2/clients", "a").json(&json!({"client_id": "c", "callback_url": "http://x/"}));
    result(create.send().await.unwrap()).await;
    let update = || json!({"callback_url": "http://y/"});
    let other = ask("PUT", "/v3/oauth2/clients/c", "b").json(&update());
    assert_eq!(other.send().await.unwrap().status(), 404);
    let own = ask("PUT", "/v3/oauth2/clients/c", "a").json(&update());
    assert_eq!(result(own.send().await.unwrap()).await["callback_url"], "http://y/");
    let list = result(ask("GET", "/v3/oauth2/clients", "b").send().await.unwrap()).await;
    assert_eq!(list, json!([]));
    assert_eq!(ask("DELETE", "/v3/oauth2/clients/c", "a").send().await.unwrap().status(), 200);
    assert_eq!(ask("GET", "/v3/oauth2/clients/c", "a").send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn roles_are_for_services_only() {
    let world = World::start();
    let roles = world.url("/v3/security/user/roles/alice?tenant=dev");
    let service = world.service_token().await;
    let ask = || world.client.get(&roles).header("X-Tapis-Tenant", "admin").header("X-Tapis-User", "pods");
    let answer = ask().header("X-Tapis-Token", &service).send().await.unwrap();
    assert_eq!(result(answer).await, json!({"names": ["r"]}));
    assert_eq!(ask().send().await.unwrap().status(), 401);
    let password = json!({"username": "alice", "password": "wonder", "grant_type": "password"});
    let login = world.client.post(world.url("/v3/oauth2/tokens")).json(&password).send().await.unwrap();
    let user = result(login).await["access_token"]["access_token"].as_str().unwrap().to_owned();
    assert_eq!(ask().header("X-Tapis-Token", user).send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn what_does_not_exist_is_said_in_an_envelope() {
    let world = World::start();
    let response = world.client.get(world.url("/v3/systems")).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(envelope(response).await["result"], Value::Null);
    let sites = result(world.client.get(world.url("/v3/sites")).send().await.unwrap()).await;
    assert_eq!(sites[0]["site_admin_tenant_id"], "admin");
}
