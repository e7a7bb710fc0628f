use proptest::prelude::*;

use super::*;
use crate::{Networking, Protocol, Resources, Tenant, credentials::tests::credentials};

fn definition() -> PodDefinition {
    let entry = |port, protocol, url: &str| Networking {
        port,
        protocol,
        url: url.to_owned(),
        ..Networking::default()
    };
    PodDefinition {
        networking: BTreeMap::from([
            ("default".to_owned(), entry(8080, Protocol::Http, "shop.pods.dev.localhost")),
            ("db".to_owned(), entry(5432, Protocol::Postgres, "shop-db.pods.dev.localhost")),
        ]),
        ..PodDefinition::with_resources(Resources::default())
    }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn try_resolve(definition: &PodDefinition) -> Result<Resolved, Unavailable> {
    let tenant = Tenant::new("tacc", "dev");
    let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "shop" };
    let result = resolve(definition, &credentials(), home);
    if let Ok(resolved) = &result {
        assert_eq!(resolved.values().next().is_some(), needs_secret(definition), "{definition:?}");
    }
    result
}

/// What the secret map value `text` becomes in an environment variable.
fn value(text: &str) -> Result<String, Unavailable> {
    let definition = PodDefinition {
        secret_map: map(&[("TOKEN", text)]),
        environment_variables: map(&[("A", "<${pods:secrets:TOKEN:?The token}>")]),
        ..definition()
    };
    try_resolve(&definition).map(|resolved| {
        let text = &resolved.environment["A"];
        text[1..text.len() - 1].to_owned()
    })
}

fn mount(kind: MountKind) -> VolumeMount {
    VolumeMount { source_id: Some("shopdata".to_owned()), ..VolumeMount::new(kind) }
}

fn file(content: &str, permissions: &str) -> VolumeMount {
    VolumeMount {
        config_content: Some(content.to_owned()),
        config_permissions: permissions.to_owned(),
        ..VolumeMount::new(MountKind::Ephemeral)
    }
}

#[test]
fn every_form_of_a_value_of_the_secret_map_is_resolved() {
    let cases = [
        ("literal $HOME $(x) {}", "literal $HOME $(x) {}"),
        ("", ""),
        ("${pods:default:5432}", "5432"),
        ("${pods:default:5432:?Port}", "5432"),
        ("${pods:default:}", ""),
        ("${pods:default:<<TAPIS_user_password>>:?Password}", "user-canary"),
        ("${pods:random:13}", "random-canary"),
        ("${pods:pod_id}", "shop"),
        ("${pods:url}", "shop.pods.dev.localhost"),
        ("${pods:tapis_url}", "dev.localhost"),
        ("${pods:networking:db:url}", "shop-db.pods.dev.localhost"),
        ("${pods:networking:db:hostname}", "shop-db.pods.dev.localhost"),
        ("${pods:networking:db:port}", "5432"),
        ("${pods:networking:db:protocol}", "postgres"),
        ("${pods:networking:db:tapis_url}", "dev.localhost"),
        ("https://${pods:url}/?id=${pods:pod_id}", "https://shop.pods.dev.localhost/?id=shop"),
        ("<<tapissecret_user_username>>:<<TAPIS_user_password>>", "shop:user-canary"),
        ("${HOME} ${unknown:x}", "${HOME} ${unknown:x}"),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn a_value_that_cannot_be_had_stops_the_start_and_says_which_and_what_to_do() {
    let cases = [
        ("${secret:ann:dbpass}", "secret_map key TOKEN needs the secret ${secret:ann:dbpass}"),
        ("postgres://${secret:ann:dbpass}@db", "secret_map key TOKEN needs the secret ${secret:ann:dbpass}"),
        ("${:?The token of the API}", "secret_map key TOKEN needs a value (The token of the API): set it"),
        ("${pods:networking:web:port}", "names networking entry \"web\", which the pod does not have"),
    ];
    for (text, expected) in cases {
        let error = value(text).unwrap_err();
        assert_eq!(error.reason, Reason::SecretUnavailable);
        assert!(error.message.contains(expected), "{error}");
    }
    let mut without = credentials();
    without.random.clear();
    let definition = PodDefinition { secret_map: map(&[("TOKEN", "${pods:random:13}")]), ..definition() };
    let tenant = Tenant::new("tacc", "dev");
    let home = Home { tenant: &tenant, tenant_host: "", pod_id: "shop" };
    assert!(resolve(&definition, &without, home).unwrap_err().message.contains("random value"));
}

#[test]
fn references_and_builtin_placeholders_are_replaced_in_the_environment() {
    let definition = PodDefinition {
        secret_map: map(&[("PASS", "s3cret ${pods:secrets:USER} <<x"), ("USER", "ann")]),
        environment_variables: map(&[
            ("URL", "postgres://${pods:secrets:USER}:${pods:secrets:PASS:?Password}@db/${pods:url}"),
            ("LOGIN", "<<tapissecret_user_username>>/<<TAPIS_service_password>>/<<TAPIS_none>>/<TAPIS_x>"),
            ("SHELL", "$(date) $HOME ${HOME}"),
            ("INSIDE", "${NAME:-<<TAPIS_user_username>>}"),
        ]),
        ..definition()
    };
    let resolved = try_resolve(&definition).unwrap();
    let expected = map(&[
        ("INSIDE", "${NAME:-shop}"),
        ("URL", "postgres://ann:s3cret ${pods:secrets:USER} <<x@db/${pods:url}"),
        ("LOGIN", "shop/admin-canary//<TAPIS_x>"),
        ("SHELL", "$(date) $HOME ${HOME}"),
    ]);
    assert_eq!(resolved.environment, expected);
}

#[test]
fn a_reference_to_nothing_stops_the_start() {
    let environment = PodDefinition {
        environment_variables: map(&[("A", "${pods:secrets:PASS}"), ("B", "${secret:pass}")]),
        ..definition()
    };
    let error = try_resolve(&environment).unwrap_err();
    assert_eq!(error.reason, Reason::SecretUnavailable);
    for part in ["environment variable A refers to the key PASS", "environment variable B needs the secret"] {
        assert!(error.message.contains(part), "{error}");
    }
    let files = PodDefinition {
        volume_mounts: BTreeMap::from([(
            "/etc/app.ini".to_owned(),
            Some(file("password=${pods:secrets:PASS}", "0644")),
        )]),
        ..definition()
    };
    let error = try_resolve(&files).unwrap_err();
    assert!(error.message.contains("the file \"/etc/app.ini\" refers to the key PASS"), "{error}");
}

#[test]
fn words_of_the_command_refer_to_variables() {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let definition = PodDefinition {
        command: words(&["run", "--user=<<tapissecret_user_username>>", "--pod=<<TAPIS_pod_id>>!"]),
        arguments: words(&[
            "-p<<tapissecret_user_password>><<TAPIS_user_password>>",
            "<<TAPIS_admin_password>>",
            "<<TAPIS_service_password>>$(x) ${pods:secrets:A}",
        ]),
        environment_variables: map(&[("PODS_SECRET_2", "taken")]),
        ..definition()
    };
    let resolved = try_resolve(&definition).unwrap();
    let text = |text: &str| Part::Text(text.to_owned());
    let variable = |name: &str| Part::Variable(name.to_owned());
    assert_eq!(
        resolved.command.unwrap(),
        [
            vec![text("run")],
            vec![text("--user="), variable("PODS_SECRET_1")],
            vec![text("--pod="), text("shop"), text("!")]
        ]
    );
    assert_eq!(
        resolved.arguments.unwrap(),
        [
            vec![text("-p"), variable("PODS_SECRET_3"), variable("PODS_SECRET_3")],
            vec![variable("PODS_SECRET_4")],
            vec![variable("PODS_SECRET_4"), text("$(x) ${pods:secrets:A}")],
        ]
    );
    let expected = map(&[
        ("PODS_SECRET_1", "shop"),
        ("PODS_SECRET_3", "user-canary"),
        ("PODS_SECRET_4", "admin-canary"),
    ]);
    assert_eq!(resolved.variables, expected);
}

#[test]
fn a_start_without_values_needs_no_secret() {
    assert!(!needs_secret(&definition()));
    let public =
        PodDefinition { command: Some(vec!["<<TAPIS_pod_id>><<TAPIS_x>>".to_owned()]), ..definition() };
    assert!(!needs_secret(&public));
    assert_eq!(try_resolve(&public).unwrap().values().count(), 0);
    let removed = PodDefinition { volume_mounts: BTreeMap::from([("/a".to_owned(), None)]), ..definition() };
    assert!(!needs_secret(&removed));
}

#[test]
fn files_have_their_content_and_mode() {
    let definition = PodDefinition {
        secret_map: map(&[("PORT", "${pods:default:5432}")]),
        volume_mounts: BTreeMap::from([
            (
                "/etc/db.ini".to_owned(),
                Some(file("port=${pods:secrets:PORT}\nu=<<TAPIS_user_username>>", "0600")),
            ),
            ("/run.sh".to_owned(), Some(file("echo ${HOME}", "755"))),
            ("/gone".to_owned(), None),
        ]),
        ..definition()
    };
    let files = try_resolve(&definition).unwrap().files;
    let files: Vec<_> = files.iter().map(|f| (f.path.as_str(), f.content.as_str(), f.mode)).collect();
    assert_eq!(files, [("/etc/db.ini", "port=5432\nu=shop", 0o600), ("/run.sh", "echo ${HOME}", 0o755)]);
}

#[test]
fn storage_that_is_not_there_stops_the_start() {
    for (kind, what) in [
        (MountKind::TapisVolume, "volume"),
        (MountKind::TapisSnapshot, "snapshot"),
        (MountKind::Pvc, "claim"),
    ] {
        let definition = PodDefinition {
            // Storage is told first.
            secret_map: map(&[("A", "${secret:ann:x}")]),
            volume_mounts: BTreeMap::from([("/data".to_owned(), Some(mount(kind)))]),
            ..definition()
        };
        let error = try_resolve(&definition).unwrap_err();
        assert_eq!(error.reason, Reason::StorageUnavailable);
        assert!(error.message.contains(&format!("mount \"/data\" needs the {what} \"shopdata\"")), "{error}");
    }
    let open = VolumeMount {
        source_id: Some("${:?Volume for the data}".to_owned()),
        ..VolumeMount::new(MountKind::TapisVolume)
    };
    let definition =
        PodDefinition { volume_mounts: BTreeMap::from([("/data".to_owned(), Some(open))]), ..definition() };
    let error = try_resolve(&definition).unwrap_err();
    assert!(error.message.contains("needs a volume (Volume for the data): set its source_id"), "{error}");
}

#[test]
fn what_no_secret_can_hold_is_refused() {
    let big = "x".repeat(RESOLVED_BYTES_MAX / 4);
    let definition = PodDefinition {
        secret_map: map(&[("BIG", &big)]),
        environment_variables: map(&[("A", &"${pods:secrets:BIG}".repeat(5))]),
        ..definition()
    };
    let error = try_resolve(&definition).unwrap_err();
    assert_eq!(error.reason, Reason::Refused);
    assert!(error.message.len() < 300 && error.message.contains("more than 1048576 bytes"), "{error}");
}

/// References that would make 13 GB of a definition that is small enough to be stored.
fn multiplying() -> PodDefinition {
    let reference = "${pods:secrets:A}";
    let references = |bytes: usize| reference.repeat(bytes / reference.len());
    PodDefinition {
        secret_map: map(&[("A", &"x".repeat(250 * 1024))]),
        environment_variables: map(&[("E", &references(256 * 1024 - 4))]),
        volume_mounts: BTreeMap::from([("/f".to_owned(), Some(file(&references(640 * 1024), "0644")))]),
        ..definition()
    }
}

#[test]
fn references_do_not_multiply_beyond_what_a_start_can_hold() {
    let error = try_resolve(&multiplying()).unwrap_err();
    assert_eq!(error.reason, Reason::Refused);
    // Values of the secret map grow as well.
    let grown = PodDefinition {
        secret_map: map(&[("A", &"${pods:networking:db:url}".repeat(10_000))]),
        networking: BTreeMap::from([(
            "db".to_owned(),
            Networking { url: "u".repeat(200), ..Networking::default() },
        )]),
        ..definition()
    };
    let error = try_resolve(&grown).unwrap_err();
    assert_eq!(error.reason, Reason::Refused);
    assert!(error.message.contains("secret_map"), "{error}");
}

#[test]
fn an_administrator_sees_what_fits_and_is_told_of_the_rest() {
    let tenant = Tenant::new("tacc", "dev");
    let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "shop" };
    let mut shown = multiplying();
    shown.environment_variables.insert("D".to_owned(), "<${pods:secrets:A}>".to_owned());
    let stored = shown.clone();
    let errors = reveal(&mut shown, &credentials(), home);
    assert_eq!(shown.environment_variables["D"].len(), 250 * 1024 + 2);
    assert_eq!(shown.environment_variables["E"], stored.environment_variables["E"]);
    assert_eq!(shown.volume_mounts, stored.volume_mounts);
    assert!(errors.len() == 1 && errors[0].contains("environment variable E"), "{errors:?}");
}

#[test]
fn a_message_about_many_problems_stays_short() {
    let unknown: String = (0..10_000).map(|n| format!("${{pods:secrets:K{n}}}${{secret:a{n}}}")).collect();
    let definition = PodDefinition { environment_variables: map(&[("E", &unknown)]), ..definition() };
    let error = try_resolve(&definition).unwrap_err();
    assert_eq!(error.reason, Reason::SecretUnavailable);
    assert!(error.message.contains("K0") && error.message.contains("more problems"), "{error}");
    assert!(error.message.len() < 4096, "{}", error.message.len());
}

#[test]
fn nothing_that_is_printed_holds_a_value() {
    let definition = PodDefinition {
        secret_map: map(&[("A", "map-canary")]),
        environment_variables: map(&[("A", "env-canary ${pods:secrets:A} <<TAPIS_user_password>>")]),
        arguments: Some(vec!["<<TAPIS_user_password>>".to_owned()]),
        volume_mounts: BTreeMap::from([("/f".to_owned(), Some(file("file-canary", "0644")))]),
        ..definition()
    };
    let resolved = try_resolve(&definition).unwrap();
    let shown = format!("{resolved:?} {:?}", resolved.files);
    assert!(shown.contains("/f") && !shown.contains("canary"), "{shown}");
}

#[test]
fn single_values_are_shown_to_administrators() {
    let definition =
        PodDefinition { secret_map: map(&[("A", "a"), ("B", "${secret:ann:b}")]), ..definition() };
    let tenant = Tenant::new("tacc", "dev");
    let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "shop" };
    let values = secret_map(&definition, &credentials(), home);
    assert_eq!(values["A"].as_deref(), Ok("a"));
    assert!(values["B"].is_err());
    let mut shown = definition;
    shown.environment_variables = map(&[("E", "${pods:secrets:A} ${pods:secrets:B} ${x}")]);
    let errors = reveal(&mut shown, &credentials(), home);
    assert_eq!(shown.environment_variables["E"], "a ${pods:secrets:B} ${x}");
    assert_eq!(shown.secret_map, map(&[("A", "a"), ("B", "${secret:ann:b}")]));
    assert!(errors.len() == 1 && errors[0].contains("key B needs the secret"), "{errors:?}");
}

proptest! {
    #[test]
    fn any_text_is_resolved_or_refused_and_never_twice(
        text in r"([a-z ]|\$|\{|\}|<|>|<<TAPIS_user_password>>|\$\{pods:secrets:A\}|\$\{pods:pod_id\}|\$\()*"
    ) {
        let inner = "${pods:secrets:B}<<TAPIS_pod_id>>";
        let definition = PodDefinition {
            secret_map: map(&[("A", "${pods:default:v}")]),
            environment_variables: map(&[("E", &text)]),
            arguments: Some(vec![text.clone()]),
            ..definition()
        };
        let mut secret = credentials();
        secret.user_password = inner.to_owned();
        let tenant = Tenant::new("tacc", "dev");
        let home = Home { tenant: &tenant, tenant_host: "dev.localhost", pod_id: "shop" };
        let resolved = resolve(&definition, &secret, home).unwrap();
        // A value that looks like a placeholder is put in as it is.
        let passwords = text.matches("<<TAPIS_user_password>>").count();
        prop_assert!(resolved.environment["E"].matches(inner).count() >= passwords);
        let variables = resolved.arguments.unwrap().concat();
        let variables = variables.iter().filter(|part| matches!(part, Part::Variable(_))).count();
        prop_assert_eq!(variables, passwords);
    }
}
