//! The decision as a table.

use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{Level, Networking, Protocol, Tenant};

const UID: Uuid = Uuid::from_u128(7);
const HOST: &str = "shop.pods.dev.example.org";

fn entry(allowed: &[&str]) -> Networking {
    Networking {
        url: HOST.to_owned(),
        tapis_auth: true,
        tapis_auth_allowed_users: allowed.iter().map(|name| (*name).to_owned()).collect(),
        tapis_auth_response_headers: [(
            "X-User".to_owned(),
            "<<tapisusername>>@<<tapistenantid>>".to_owned(),
        )]
        .into(),
        ..Networking::default()
    }
}

fn gate_of(entry: &Networking, permissions: &[(&str, Level)]) -> Gate {
    let permissions: Arc<[_]> = permissions.iter().map(|(key, level)| ((*key).to_owned(), *level)).collect();
    let tenant = Tenant::new("tacc", "dev");
    Gate::new(
        GatedPod { tenant: &tenant, pod_id: "shop", uid: UID, permissions: &permissions },
        "default",
        entry,
    )
}

fn gate(allowed: &[&str], permissions: &[(&str, Level)]) -> Gate {
    gate_of(&entry(allowed), permissions)
}

fn visitor(text: &str) -> Visitor {
    let (username, tenant_id) = text.rsplit_once('@').unwrap();
    Visitor { tenant: Tenant::new("tacc", tenant_id), username: username.to_owned() }
}

const PROGRAM: Request = Request { navigation: false };
const BROWSER: Request = Request { navigation: true };

#[test]
fn the_default_entry_is_called_like_its_pod() {
    let called = |network| {
        let (tenant, permissions) = (Tenant::new("tacc", "dev"), [].into());
        let pod = GatedPod { tenant: &tenant, pod_id: "shop", uid: UID, permissions: &permissions };
        Gate::new(pod, network, &entry(&[])).pod_id_net()
    };
    assert_eq!((called("default"), called("admin")), ("shop".to_owned(), "shop-admin".to_owned()));
}

#[test]
fn who_may_pass() {
    use Refusal::{NotListed, OtherTenant};
    let permissions = [
        ("ann", Level::Admin),
        ("boss", Level::ApprovedAdmin),
        ("bob", Level::User),
        ("carl", Level::Read),
        ("nobody", Level::None),
        ("tenant.two", Level::Read),
        ("tenant.three", Level::None),
        ("tenant.four", Level::Admin),
    ];
    #[rustfmt::skip]
    let cases: [(&[&str], &str, Result<(), Refusal>); 36] = [
        (&["*"], "zoe@dev", Ok(())),
        (&["*"], "zoe@two", Ok(())),
        (&["*"], "zoe@three", Err(OtherTenant)),
        (&["*"], "zoe@five", Err(OtherTenant)),
        (&["*"], "ann@five", Err(OtherTenant)),
        (&["ann"], "ann@dev", Ok(())),
        (&["ann"], "ANN@dev", Ok(())),
        (&["Ann"], "ann@dev", Ok(())),
        (&["ann"], "ann@two", Err(NotListed)),
        (&["ann"], "ann@five", Err(OtherTenant)),
        (&["ann"], "anna@dev", Err(NotListed)),
        (&["ann", "bob"], "bob@dev", Ok(())),
        (&["a*"], "ann@dev", Err(NotListed)),
        (&[""], "ann@dev", Err(NotListed)),
        (&[], "ann@dev", Err(NotListed)),
        (&["AUTHORIZED_READS"], "carl@dev", Ok(())),
        (&["AUTHORIZED_READS"], "bob@dev", Ok(())),
        (&["AUTHORIZED_READS"], "zoe@dev", Err(NotListed)),
        (&["AUTHORIZED_READS"], "nobody@dev", Err(NotListed)),
        (&["AUTHORIZED_READS"], "zoe@two", Ok(())),
        (&["AUTHORIZED_READS"], "carl@two", Ok(())),
        (&["AUTHORIZED_READS"], "carl@five", Err(OtherTenant)),
        (&["AUTHORIZED_USERS"], "bob@dev", Ok(())),
        (&["AUTHORIZED_USERS"], "carl@dev", Err(NotListed)),
        (&["AUTHORIZED_USERS"], "zoe@two", Err(NotListed)),
        (&["AUTHORIZED_USERS"], "bob@two", Err(NotListed)),
        (&["AUTHORIZED_USERS"], "zoe@four", Ok(())),
        (&["AUTHORIZED_ADMINS"], "ann@dev", Ok(())),
        (&["AUTHORIZED_ADMINS"], "boss@dev", Ok(())),
        (&["AUTHORIZED_ADMINS"], "bob@dev", Err(NotListed)),
        (&["AUTHORIZED_ADMINS"], "ann@two", Err(NotListed)),
        (&["authorized_admins"], "ann@dev", Err(NotListed)),
        (&["authorized_admins"], "AUTHORIZED_ADMINS@dev", Ok(())),
        (&["AUTHORIZED_ADMINS"], "AUTHORIZED_ADMINS@dev", Err(NotListed)),
        // Nobody gets a tenant's grant by being called like it.
        (&["AUTHORIZED_READS"], "tenant.two@dev", Err(NotListed)),
        (&["AUTHORIZED_ADMINS", "zoe"], "zoe@dev", Ok(())),
    ];
    for (allowed, who, expected) in cases {
        let gate = gate(allowed, &permissions);
        assert_eq!(admit(&gate, &visitor(who)), expected, "{who} at {allowed:?}");
        let verdict = decide(&gate, Credential::Visitor(&visitor(who)), PROGRAM);
        match expected {
            Ok(()) => assert_eq!(verdict, Verdict::Allow(vec![("X-User", who.to_owned())])),
            Err(refusal) => assert_eq!(verdict, Verdict::Forbidden(refusal)),
        }
    }
}

#[test]
fn a_tenant_of_another_site_is_another_tenant() {
    let gate = gate(&["*"], &[]);
    let foreign = Visitor { tenant: Tenant::new("elsewhere", "dev"), username: "ann".to_owned() };
    assert_eq!(admit(&gate, &foreign), Err(Refusal::OtherTenant));
}

#[test]
fn without_a_proof_one_logs_in_and_a_program_with_a_bad_token_is_told() {
    let closed = gate(&["*"], &[]);
    let open = gate_of(&Networking { tapis_auth: false, ..entry(&["*"]) }, &[]);
    let tcp = gate_of(&Networking { protocol: Protocol::Tcp, ..entry(&["*"]) }, &[]);
    for (credential, request, expected) in [
        (Credential::Nothing, PROGRAM, Verdict::Login),
        (Credential::Nothing, BROWSER, Verdict::Login),
        (Credential::BadToken, PROGRAM, Verdict::BadToken),
        (Credential::BadToken, BROWSER, Verdict::Login),
        (Credential::Borrowed, PROGRAM, Verdict::Forbidden(Refusal::ForeignPage)),
        (Credential::Borrowed, BROWSER, Verdict::Forbidden(Refusal::ForeignPage)),
    ] {
        assert_eq!(decide(&closed, credential, request), expected);
        assert_eq!(decide(&open, credential, request), Verdict::Allow(Vec::new()));
        assert_eq!(decide(&tcp, credential, request), Verdict::Allow(Vec::new()));
    }
    let known = visitor("ann@dev");
    assert_eq!(
        decide(&open, Credential::Visitor(&known), BROWSER),
        Verdict::Allow(Vec::new()),
        "nobody is named"
    );
}

#[test]
fn nobody_is_led_in_a_circle_or_away_by_a_return_path() {
    for (configured, expected) in [
        ("/", "/"),
        ("/lab?x=1", "/lab?x=1"),
        ("", "/"),
        ("lab", "/"),
        ("//evil.example/", "/"),
        ("/.well-known/tapis-pods/login", "/"),
    ] {
        let entry = Networking { tapis_auth_return_path: configured.to_owned(), ..entry(&["*"]) };
        assert_eq!(gate_of(&entry, &[]).return_path(), expected, "{configured:?}");
    }
}

#[test]
fn a_session_counts_for_one_host_of_one_entry_of_one_pod() {
    let entry = Networking {
        custom_domain: "shop.example.com".to_owned(),
        custom_domain_verified: true,
        ..entry(&["*"])
    };
    let gate = gate_of(&entry, &[]);
    assert_eq!(gate.hosts(), [HOST, "shop.example.com"]);
    let session = Session {
        sid: Uuid::nil(),
        site_id: "tacc".to_owned(),
        tenant_id: "dev".to_owned(),
        username: "ann".to_owned(),
        pod_uid: UID,
        network: "default".to_owned(),
        host: HOST.to_owned(),
        issued: 100,
        expires: 200,
    };
    let good = |session: &Session| session.counts(&gate, HOST, 150);
    assert!(good(&session));
    assert!(!session.counts(&gate, "shop.example.com", 150), "another host of the same entry");
    assert!(Session { host: "shop.example.com".to_owned(), ..session.clone() }.counts(
        &gate,
        "shop.example.com",
        150
    ));
    assert!(!session.counts(&gate, "evil.example", 150));
    assert!(!good(&Session { pod_uid: Uuid::from_u128(8), ..session.clone() }), "another pod");
    assert!(!good(&Session { network: "admin".to_owned(), ..session.clone() }), "another entry");
    assert!(!good(&Session { expires: 150, ..session.clone() }), "over");
    assert!(good(&Session { expires: 151, ..session.clone() }));
    assert!(good(&Session { issued: 200, ..session.clone() }), "a replica whose clock is a little ahead");
    assert!(!good(&Session { issued: 300, ..session.clone() }));
    let unproven = Networking { custom_domain_verified: false, ..entry };
    let gate = gate_of(&unproven, &[]);
    assert!(!Session { host: "shop.example.com".to_owned(), ..session }.counts(
        &gate,
        "shop.example.com",
        150
    ));
}

#[test]
fn a_pod_is_opened_to_tenants_by_grants() {
    let permissions = [
        ("tenant.two", Level::Read),
        ("tenant.three", Level::None),
        ("tenant.dev", Level::Read),
        ("tenant.a", Level::User),
        ("ann", Level::Admin),
    ];
    assert_eq!(gate(&["*"], &permissions).opened_to(), ["a", "two"]);
}

#[test]
fn what_readers_may_see_goes_by_personal_levels() {
    let gate =
        gate(&["*"], &[("ann", Level::Read), ("tenant.two", Level::Read), ("tenant.dev", Level::Read)]);
    assert_eq!(gate.personal_level(&visitor("ann@dev")), Level::Read);
    for stranger in ["ann@two", "zoe@two", "zoe@dev", "Ann@dev", "tenant.two@dev"] {
        assert_eq!(gate.personal_level(&visitor(stranger)), Level::None, "{stranger}");
    }
}

proptest! {
    #[test]
    fn nobody_of_a_tenant_without_a_grant_passes(
        username in "[a-zA-Z.@*_]{1,12}", tenant in "[a-z]{1,4}",
        allowed in prop::collection::vec("[a-zA-Z.@*_]{0,12}|AUTHORIZED_(READS|USERS|ADMINS)", 0..4),
        keys in prop::collection::vec(("[a-z.]{1,12}", prop::sample::select(Level::ALL.to_vec())), 0..4),
    ) {
        let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
        let permissions: Vec<(&str, Level)> = keys.iter().map(|(key, level)| (key.as_str(), *level)).collect();
        let granted = format!("tenant.{tenant}");
        prop_assume!(tenant != "dev" && !keys.iter().any(|(key, _)| *key == granted));
        let visitor = Visitor { tenant: Tenant::new("tacc", tenant), username };
        prop_assert_eq!(admit(&gate(&allowed, &permissions), &visitor), Err(Refusal::OtherTenant));
    }
}
