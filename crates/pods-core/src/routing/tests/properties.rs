//! What holds for any pods.

use proptest::prelude::*;

use super::*;

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,20}", "[a-z`()|& \\\\\n\"]{0,20}", "[a-z]{1,8}\\.pods\\.dev", Just(String::new())]
}

fn any_entry() -> impl Strategy<Value = Networking> {
    let texts = || proptest::collection::vec(any_text(), 0..3);
    let protocol = proptest::sample::select(Protocol::ALL);
    let access = (any_text(), any::<i32>(), texts(), proptest::bool::weighted(0.1));
    (protocol, access, texts(), texts(), texts(), any::<i32>()).prop_map(
        |(protocol, (url, port, ip_allow_list, tapis_auth), origins, headers, types, number)| Networking {
            protocol,
            port: if number % 2 == 0 { port } else { 80 },
            url,
            ip_allow_list: if number % 4 == 0 { ip_allow_list } else { Vec::new() },
            tapis_auth,
            cors_allow_origins: origins,
            cors_allow_headers: headers.clone(),
            cors_allow_methods: headers,
            cors_max_age: number,
            proxy_compression_excluded_content_types: types,
            proxy_compression_min_response_body_bytes: number,
            ..Networking::default()
        },
    )
}

fn any_pod() -> impl Strategy<Value = RoutedPod> {
    let status = proptest::sample::select(Status::ALL);
    let name = prop_oneof![9 => "pods-tacc-dev-[a-d]{1,2}", 1 => any_text()];
    let entries = proptest::collection::btree_map(any_text(), any_entry(), 0..3);
    (0..40_u128, name, status, entries).prop_map(|(uid, k8_name, status, networking)| RoutedPod {
        tenant: Tenant::new("tacc", "dev"),
        tenant_host: "dev".to_owned(),
        pod_id: String::new(),
        uid: Uuid::from_u128(uid),
        k8_name,
        status,
        live: status == Status::Available,
        networking,
        problem: None,
        permissions: Arc::from([]),
    })
}

proptest! {
    #[test]
    fn any_pods_give_a_document_that_depends_on_nothing_else(
        pods in proptest::collection::vec(any_pod(), 0..12),
        order in any::<prop::sample::Index>(),
    ) {
        let good = pod("good", Status::Available, &[("default", plain())]);
        let mut last: BTreeMap<Uuid, &RoutedPod> = pods.iter().map(|pod| (pod.uid, pod)).collect();
        last.insert(good.uid, &good);
        let mut shuffled: Vec<&RoutedPod> = last.values().copied().collect();
        let pivot = order.index(shuffled.len());
        shuffled.rotate_left(pivot);
        // One with a history, one fresh.
        let mut first = table(&pods);
        first.set(&good);
        let second = table(shuffled);
        prop_assert_eq!(first.render(), second.render());
        prop_assert_eq!(first.left_out(), second.left_out());

        let document = document(&first);
        let alone = document_of(&good);
        let name = good.k8_name.as_str();
        prop_assert_eq!(&document["http"]["routers"][name], &alone["http"]["routers"][name]);
        let rule = regex::Regex::new("^Host(SNI)?\\(`[a-z0-9-]+\\.pods\\.[a-z0-9.-]+`\\)( && .*)?$").unwrap();
        for section in ["http", "tcp"] {
            let Some(routers) = document[section]["routers"].as_object() else { continue };
            for (name, router) in routers {
                let text = router["rule"].as_str().unwrap();
                let own = ["api", "api-tls", "catch-all", "catch-all-tls"].contains(&name.as_str());
                prop_assert!(own || rule.is_match(text), "{}", text);
                prop_assert!(document[section]["services"].get(router["service"].as_str().unwrap()).is_some());
                for middleware in router["middlewares"].as_array().into_iter().flatten() {
                    prop_assert!(document[section]["middlewares"].get(middleware.as_str().unwrap()).is_some());
                }
            }
        }
    }

    #[test]
    fn set_says_whether_the_document_changed(pods in proptest::collection::vec(any_pod(), 0..20)) {
        let mut table = table([]);
        let mut before = table.render();
        for pod in &pods {
            let changed = table.set(pod);
            let after = table.render();
            prop_assert_eq!(changed, after != before);
            before = after;
        }
        for uid in pods.iter().map(|pod| pod.uid).collect::<HashSet<_>>() {
            table.remove(uid);
        }
        prop_assert_eq!(table.render(), RoutingTable::new(settings()).unwrap().render());
    }
}
