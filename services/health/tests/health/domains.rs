//! Custom domains, from what DNS says to what the pod's networking says.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use hickory_resolver::proto::op::ResponseCode;
use pods_core::{
    Networking, PodDefinition,
    domains::{Answer, record_name, record_text},
};
use pods_db::{
    action_logs, domains,
    pods::{NewPodRow, PodRow},
    testing::{self, TestDatabase},
};
use pods_health::domains::{Checker, DomainsConfig, dns::Resolver};
use uuid::Uuid;

use crate::{
    nameserver::{NameServer, Reply},
    world::{until, world},
};

const DOMAIN: &str = "shop.example.org";

fn config(server: &NameServer) -> DomainsConfig {
    DomainsConfig {
        servers: vec![server.address.to_string()],
        timeout: Duration::from_millis(300),
        grace: Duration::from_secs(3600),
        ..DomainsConfig::default()
    }
}

async fn pod(database: &TestDatabase, pod_id: &str, domain: &str) -> Uuid {
    let entry = Networking { custom_domain: domain.to_owned(), ..Networking::default() };
    let networking = BTreeMap::from([("default".to_owned(), entry)]);
    let definition = PodDefinition { networking, ..testing::definition() };
    let tenant = testing::tenant();
    let new = NewPodRow { definition, ..testing::new_pod(&tenant, pod_id, false) };
    PodRow::create(&mut *database.conn().await, new).await.unwrap().uid
}

async fn is_led(database: &TestDatabase, uid: Uuid) -> bool {
    let row = PodRow::by_uid(&mut *database.conn().await, uid).await.unwrap().unwrap();
    row.definition.networking["default"].custom_domain_verified
}

struct Site {
    database: TestDatabase,
    server: NameServer,
    checker: Checker,
}

async fn site() -> Site {
    let (database, server) = (TestDatabase::new().await, NameServer::start().await);
    let checker = Checker::new(database.db(), "dev".to_owned(), &config(&server)).unwrap();
    Site { database, server, checker }
}

impl Site {
    fn says(&self, domain: &str, uids: &[Uuid]) {
        let texts = uids.iter().map(|uid| record_text(*uid)).collect();
        self.server.says(&record_name(domain), Reply::Texts(texts));
    }

    async fn pass(&self, now: DateTime<Utc>) -> usize {
        self.checker.pass(now).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_answers_are_yes_no_or_nothing() {
    let server = NameServer::start().await;
    let resolver = Resolver::new(&[server.address.to_string()], Duration::from_millis(300)).unwrap();
    let uid = Uuid::new_v4();
    let yes = Answer::Names([uid].into());
    let no = Answer::Names([].into());
    let long = format!("v=spf1 {}", "ip4:192.0.2.1 ".repeat(200));
    let mut big: Vec<String> = vec![long; 4];
    big.push(record_text(uid));
    let cases = [
        (Reply::Texts(vec!["v=spf1 -all".to_owned(), record_text(uid)]), &yes),
        (Reply::Texts(big), &yes),
        (Reply::Alias("elsewhere.example.net.".to_owned(), vec![record_text(uid)]), &yes),
        (Reply::Texts(vec!["v=spf1 -all".to_owned()]), &no),
        (Reply::Empty, &no),
        (Reply::Code(ResponseCode::NXDomain), &no),
        (Reply::Code(ResponseCode::ServFail), &Answer::Nothing),
        (Reply::Code(ResponseCode::Refused), &Answer::Nothing),
        (Reply::Code(ResponseCode::NotAuth), &Answer::Nothing),
        (Reply::Silence, &Answer::Nothing),
    ];
    for (reply, expected) in cases {
        server.says(&record_name(DOMAIN), reply.clone());
        assert_eq!(resolver.ask(DOMAIN).await, *expected, "{reply:?}");
    }
    // Nothing is remembered between two questions, and nobody listens at the other address.
    let nobody = Resolver::new(&["127.0.0.1:9".to_owned()], Duration::from_millis(300)).unwrap();
    assert_eq!(nobody.ask(DOMAIN).await, Answer::Nothing);
    assert_eq!(resolver.ask(&"a.".repeat(130)).await, no, "no name can be so long");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_gives_a_pod_its_domain_and_takes_it_away() {
    let site = site().await;
    let uid = pod(&site.database, "shop", DOMAIN).await;
    pod(&site.database, "plain", "").await;
    let at = Utc::now() + TimeDelta::seconds(1);
    assert_eq!(site.pass(at).await, 1, "only what names a domain is looked at");
    assert!(!is_led(&site.database, uid).await);
    assert_eq!(site.pass(at).await, 0, "not due again yet");

    site.says(DOMAIN, &[uid]);
    let at = at + TimeDelta::minutes(1);
    assert_eq!(site.pass(at).await, 1);
    assert!(is_led(&site.database, uid).await);

    // Silence is forgiven for a week, a missing record for the grace time.
    site.server.says(&record_name(DOMAIN), Reply::Silence);
    let at = at + TimeDelta::days(6);
    site.pass(at).await;
    let at = at + TimeDelta::days(6);
    site.pass(at).await;
    assert!(is_led(&site.database, uid).await);
    site.server.says(&record_name(DOMAIN), Reply::Code(ResponseCode::NXDomain));
    let at = at + TimeDelta::hours(2);
    site.pass(at).await;
    assert!(is_led(&site.database, uid).await);
    site.pass(at + TimeDelta::minutes(59)).await;
    assert!(is_led(&site.database, uid).await);
    site.pass(at + TimeDelta::minutes(65)).await;
    assert!(!is_led(&site.database, uid).await);

    let log = action_logs::list(&mut *site.database.conn().await, uid).await.unwrap();
    let told = ["create a TXT record", "is verified", "has lost its proof", "no longer leads"];
    assert_eq!(log.len(), told.len() + 1, "{log:?}");
    for (line, part) in log[1..].iter().zip(told) {
        assert!(line.contains(part) && line.contains(DOMAIN), "{part}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_goes_to_one_pod_and_moves_with_its_record() {
    let site = site().await;
    let first = pod(&site.database, "first", DOMAIN).await;
    let second = pod(&site.database, "second", DOMAIN).await;
    let own = pod(&site.database, "own", "api.dev.localhost").await;
    site.says(DOMAIN, &[first, second]);
    site.says("api.dev.localhost", &[own]);
    let at = Utc::now() + TimeDelta::seconds(1);
    site.pass(at).await;
    assert!(is_led(&site.database, first).await && !is_led(&site.database, second).await);
    assert!(!is_led(&site.database, own).await, "the tenant's hosts are the platform's");
    assert_eq!(site.server.asked(&record_name(DOMAIN)), 1, "one question for both");
    assert_eq!(site.server.asked(&record_name("api.dev.localhost")), 0);

    site.says(DOMAIN, &[second]);
    site.pass(at + TimeDelta::minutes(1)).await;
    assert!(!is_led(&site.database, first).await && is_led(&site.database, second).await);
    let conn = &mut *site.database.conn().await;
    let claim = domains::of_pod(conn, first).await.unwrap().remove(0);
    assert_eq!((claim.verified, claim.failing), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_whose_servers_are_silent_hold_nobody_up() {
    let site = site().await;
    for number in 0..40 {
        let domain = format!("silent{number}.example.org");
        site.server.says(&record_name(&domain), Reply::Silence);
        pod(&site.database, &format!("silent{number}"), &domain).await;
    }
    let at = Utc::now() + TimeDelta::seconds(1);
    assert_eq!(site.pass(at).await, 40);
    let held = pod(&site.database, "held", "held.example.org").await;
    site.says("held.example.org", &[held]);
    site.pass(Utc::now() + TimeDelta::seconds(1)).await;
    assert!(is_led(&site.database, held).await);

    // From now on a question to the silent ones takes longer than this test, and two other domains are due.
    let patient = DomainsConfig { timeout: Duration::from_secs(3600), ..config(&site.server) };
    let checker = Checker::new(site.database.db(), "dev".to_owned(), &patient).unwrap();
    let wanted = pod(&site.database, "shop", DOMAIN).await;
    site.says(DOMAIN, &[wanted]);
    site.says("held.example.org", &[Uuid::new_v4()]);
    let before = site.server.asked(&record_name("held.example.org"));
    let pass = tokio::spawn(async move { checker.pass(at + TimeDelta::hours(2)).await });
    until("the wanted domain is verified", || is_led(&site.database, wanted)).await;
    until("the held domain is looked at", || async {
        site.server.asked(&record_name("held.example.org")) > before
    })
    .await;
    assert!(!pass.is_finished(), "nobody has answered for the others");
    pass.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_looks_by_itself() {
    let server = NameServer::start().await;
    let world = world().await;
    let replica = world.replica_with(|health| health.domains = config(&server)).await;
    let row = world.spawning("shop").await;
    server.says(&record_name(DOMAIN), Reply::Texts(vec![record_text(row.uid)]));
    world
        .sql(&format!(
            "UPDATE pods SET revision = revision + 1, networking = jsonb_set(networking, \
             '{{default,custom_domain}}', '\"{DOMAIN}\"') WHERE uid = '{}'",
            row.uid
        ))
        .await;
    until("the domain leads to the pod", || async {
        world.row(row.uid).await.definition.networking["default"].custom_domain_verified
    })
    .await;
    replica.stop().await;
}
