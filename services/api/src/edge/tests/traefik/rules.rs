//! What the rules and middlewares do to requests: Traefik, a pod that says what it was asked, and an edge that lets
//! everybody in and says so.

use reqwest::{Client, Method, StatusCode, redirect::Policy};

use super::{
    program::free_port,
    stage::{Backstage, Edge},
    *,
};

pub struct Stage {
    pub traefik: Traefik,
    pub client: Client,
    edge: Edge,
}

impl Stage {
    /// The client finds the hosts and domains of the pods, and that of their tenant.
    pub async fn new(pods: &[RoutedPod]) -> Self {
        Self::with(Backstage::new(settings(), pods), pods, &[]).await
    }

    /// The same with more options for Traefik.
    pub async fn with(backstage: Backstage, pods: &[RoutedPod], options: &[String]) -> Self {
        let ports = (free_port(), free_port());
        let traefik = Traefik::start_with(&backstage.endpoint(), ports, options, &[]);
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], traefik.websecure));
        let mut client = Client::builder().danger_accept_invalid_certs(true).redirect(Policy::none());
        let entries = pods.iter().flat_map(|pod| pod.networking.values());
        let names = entries.flat_map(|entry| [entry.url.as_str(), &entry.custom_domain]);
        for name in names.filter(|name| !name.is_empty()).chain(["dev.example.org"]) {
            client = client.resolve(name, address);
        }
        let stage = Self { traefik, client: client.build().unwrap(), edge: backstage.edge };
        for _ in 0..200 {
            if stage.traefik.routers("http").await.len() > 4 {
                return stage;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("Traefik did not take the document over within 20 s");
    }

    /// Status and body, and what the edge was asked meanwhile.
    async fn visit(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String, Vec<String>) {
        self.edge.asked.lock().unwrap().clear();
        let url = format!("https://{}:{}{path}", host("shop"), self.traefik.websecure);
        let mut request = self.client.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let body = response.text().await.unwrap();
        (status, body, std::mem::take(&mut *self.edge.asked.lock().unwrap()))
    }

    /// The same with a path that no client would send.
    async fn raw(&self, path: &str) -> (String, Vec<String>) {
        self.edge.asked.lock().unwrap().clear();
        let mut command = tokio::process::Command::new("openssl");
        let connect = format!("127.0.0.1:{}", self.traefik.websecure);
        command.args(["s_client", "-quiet", "-connect", &connect, "-servername", &host("shop")]);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host("shop"));
        tokio::io::AsyncWriteExt::write_all(&mut input, request.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        drop(input);
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        (answer, std::mem::take(&mut *self.edge.asked.lock().unwrap()))
    }
}

pub fn guarded() -> RoutedPod {
    let entry = Networking {
        url: host("shop"),
        tapis_auth: true,
        tapis_auth_response_headers: [("X-Tapis-Username".to_owned(), String::new())].into(),
        tapis_auth_excluded_paths: vec!["/open".to_owned()],
        tapis_auth_excluded_path_regex: vec![r"\.css$".to_owned()],
        cors_allow_origins: vec!["https://app.example".to_owned()],
        cors_allow_methods: vec!["PUT".to_owned()],
        custom_domain: "shop.example.com".to_owned(),
        custom_domain_verified: true,
        ..Networking::default()
    };
    RoutedPod {
        networking: BTreeMap::from([("default".to_owned(), entry)]),
        ..pod("shop", Status::Available)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_guards_every_path_but_the_excluded_ones() {
    let pod = guarded();
    let uid = pod.uid;
    let stage = Stage::new(&[pod]).await;
    let (status, body, asked) = stage.visit("/a?b=c", &[]).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body.starts_with("pod /a?b=c\n"), "{body}");
    assert_eq!(
        asked,
        [format!(
            "/forward-auth/{uid}/default of GET https://{}:{}/a?b=c",
            host("shop"),
            stage.traefik.websecure
        )]
    );
    let open = format!("/forward-auth-open/{uid}/default");
    for path in ["/open", "/open/", "/open/x", "/deep/a.css", "/open/a%20b", "/open/@x", "/open/a%40b"] {
        let (_, body, asked) = stage.visit(path, &[]).await;
        assert!(asked.len() == 1 && asked[0].starts_with(&open), "{path}: {asked:?}");
        assert!(body.starts_with("pod "), "{body}");
    }
    let closed = format!("/forward-auth/{uid}/default");
    for path in [
        "/",
        "/Open",
        "/openly",
        "/open-x",
        "/open%2f",
        "/a.css/b",
        "/open/..%2fadmin",
        "/open/%2e%2e/admin",
        "/open/../admin",
        "/open/..;/admin",
        "/open/..%5cadmin",
        "/open/a%00",
        // Some read it as a dot.
        "/open/%c0%ae%c0%ae/admin",
        "/open/%252e%252e%252fadmin",
        "/open/x%3f/../..",
        "/admin%3b.css",
        "/admin%23.css",
        "//admin",
        "/x/..//admin?.css",
    ] {
        let (answer, asked) = stage.raw(path).await;
        let refused = asked.is_empty() && answer.starts_with("HTTP/1.1 400");
        assert!(
            refused || (asked.len() == 1 && asked[0].starts_with(&format!("{closed} "))),
            "{path}: {asked:?}\n{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_edges_comes_from_visitors() {
    let stage = Stage::new(&[guarded()]).await;
    let forged = [
        ("Cookie", "__Host-tapis-pods-session=x; theme=dark"),
        ("X-Tapis-Token", "x"),
        ("X-Tapis-Username", "root"),
        ("X_Tapis_Username", "root"),
        ("x-tapis_username", "root"),
        // Programs in the manner of CGI read all of these as the same.
        ("X.Tapis.Username", "root"),
        ("X~Tapis!Username", "root"),
        ("X-Forwarded-User", "root"),
        ("X-Forwarded-Email", "root@evil.example"),
        ("X-Forwarded-Preferred-Username", "root"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X.Forwarded.Host", "evil.example"),
        ("Forwarded", "for=10.0.0.1;host=evil.example"),
        ("X-Original-URL", "/evil"),
        ("X-Rewrite-URL", "/evil"),
        // With it a container could be asked to speak HTTP/2 past all rules.
        ("HTTP2-Settings", "evil"),
        ("X-Tapis-Tenant", "root"),
        ("X-Tapis-User", "root"),
        ("X_Forwarded_For", "10.0.0.1"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Uri", "/open/evil"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("Authorization", "Bearer mine"),
    ];
    for path in ["/a", "/open/a"] {
        let (_, body, asked) = stage.visit(path, &forged).await;
        assert!(
            asked[0].ends_with(&format!(
                " of GET https://{}:{}{path}",
                host("shop"),
                stage.traefik.websecure
            )),
            "{asked:?}"
        );
        let text = body.to_ascii_lowercase();
        for word in ["root", "session=", "x-tapis-token", "x_forwarded", "10.0.0.1", "evil", "not-configured"]
        {
            assert!(!text.contains(word), "{path} {word}: {body}");
        }
        for line in [
            "x-tapis-username: alice",
            "cookie: theme=dark",
            "authorization: bearer mine",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: https",
            "x-forwarded-server: ",
            "x-real-ip: 127.0.0.1",
        ] {
            assert!(text.contains(line), "{path} {line}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_login_is_the_edges_and_nothing_else_of_it_is_reached() {
    let pod = guarded();
    let uid = pod.uid;
    let stage = Stage::new(&[pod]).await;
    let (_, body, asked) = stage.visit("/.well-known/tapis-pods/session?ticket=x", &[]).await;
    assert_eq!(body, format!("edge /login/{uid}/default/session"));
    assert_eq!(asked.len(), 1, "no login is asked for on the way to one: {asked:?}");
    for path in [
        "/.well-known/tapis-pods/../../traefik-config",
        "/.well-known/tapis-pods/..%2f..%2fx",
        "/traefik-config",
    ] {
        let (answer, asked) = stage.raw(path).await;
        assert!(!answer.contains("\"middlewares\""), "{path}: {answer}");
        for question in &asked {
            let ours = question.starts_with("/forward-auth/")
                || question.starts_with(&format!("/login/{uid}/default/"));
            assert!(ours, "{path}: {question}");
        }
    }
    let url = format!("https://shop.example.com:{}/a", stage.traefik.websecure);
    let body = stage.client.get(url).send().await.unwrap().text().await.unwrap();
    assert!(body.starts_with("pod /a\n"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preflight_requests_need_no_login() {
    let stage = Stage::new(&[guarded()]).await;
    let url = format!("https://{}:{}/a", host("shop"), stage.traefik.websecure);
    let preflight = |origin: &'static str| {
        stage
            .client
            .request(Method::OPTIONS, &url)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "PUT")
            .send()
    };
    stage.edge.asked.lock().unwrap().clear();
    let answer = preflight("https://app.example").await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example");
    assert_eq!(answer.headers()["access-control-allow-methods"], "PUT");
    assert_eq!(answer.headers()["access-control-max-age"], "100");
    assert_eq!(*stage.edge.asked.lock().unwrap(), Vec::<String>::new());
    let other = preflight("https://evil.example").await.unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));
}
