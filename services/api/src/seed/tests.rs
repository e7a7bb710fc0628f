use std::{collections::BTreeSet, path::Path};

use pods_core::{
    PodDefinition, Resources,
    credentials::Credentials,
    image::allowed,
    patch::Home,
    placeholder,
    resolve::resolve,
    template::{Tags, chain, derive},
};
use pods_db::{template_tags::Definitions, testing::TestDatabase};

use super::*;
use crate::seed::catalogue::reference;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn standard() -> Catalogue {
    Catalogue::read(&[folder("templates")]).unwrap()
}

fn development() -> Catalogue {
    Catalogue::read(&[folder("templates/dev")]).unwrap()
}

fn small() -> ResourceLimits {
    ResourceLimits { minimum_pod_cpu_val: 1, minimum_pod_mem_val: 1, ..ResourceLimits::default() }
}

#[test]
fn every_file_says_what_the_api_would_accept() {
    assert_eq!(standard().problems(&ResourceLimits::default()), Vec::<String>::new());
    assert_eq!(development().problems(&small()), Vec::<String>::new());
}

#[test]
fn the_templates_that_users_know_are_there() {
    let standard = standard();
    let references: Vec<String> = standard.tags().iter().map(|(entry, tag)| reference(entry, tag)).collect();
    assert!(references.contains(&"neo4j:5.26s3se@2025-01-30-17:14:14".to_owned()));
    assert!(references.iter().any(|reference| reference.starts_with("jupyterlab:noauth@")));
    for entry in &standard.entries {
        let latest = entry.tags.iter().filter(|tag| tag.tag.tag == "latest").max_by_key(|tag| tag.at);
        assert!(latest.is_some(), "{} can be named without a tag", entry.template.template_id);
        let file = entry.file.file_stem().unwrap().to_str().unwrap();
        assert_eq!(file, entry.template.template_id);
    }
    // The documentation creates a template of this name.
    assert!(!standard.entries.iter().any(|entry| entry.template.template_id == "mongo"));
}

#[test]
fn a_pod_of_each_tag_has_an_allowed_image_and_no_open_questions_but_the_stated_ones() {
    let standard = standard();
    let tenant = Tenant::new("tacc", "tacc");
    let rules: Vec<_> = standard
        .entries
        .iter()
        .flat_map(|entry| &entry.images)
        .map(|image| pods_core::image::ImageRule {
            image: image.image.clone(),
            reference: image.reference.clone(),
            tenants: image.tenants.clone(),
        })
        .collect();
    let tags: Tags = standard
        .tags()
        .iter()
        .map(|(entry, tag)| (reference(entry, tag), tag.tag.pod_definition.clone()))
        .collect();
    for reference in tags.keys() {
        let pod = PodDefinition::with_resources(Resources::default());
        let home = Home { tenant: &tenant, tenant_host: "tacc.tapis.io", pod_id: "mypod" };
        let derived = derive(&pod, &Default::default(), &chain(reference, &tags).unwrap(), home).definition;
        let image = pods_core::image::ImageReference::parse(&derived.image).unwrap();
        assert!(allowed(&image, &rules, "tacc", &[]), "{reference}: {}", derived.image);
        let required = placeholder::placeholders(&derived.secret_map).required;
        let expected = if reference.starts_with("bookstack:") { 3 } else { 0 };
        assert_eq!(required.len(), expected, "{reference}");
        assert_eq!(placeholder::config_syntax_warnings(&derived), Vec::<String>::new(), "{reference}");
        assert!(!derived.networking.is_empty());
    }
}

#[test]
fn a_start_finds_a_value_for_every_placeholder() {
    let standard = standard();
    let tenant = Tenant::new("tacc", "tacc");
    let tags: Tags = standard
        .tags()
        .iter()
        .map(|(entry, tag)| (reference(entry, tag), tag.tag.pod_definition.clone()))
        .collect();
    for reference in tags.keys() {
        let mut pod = PodDefinition::with_resources(Resources::default());
        pod.template.clone_from(reference);
        for key in ["DB_HOST", "DB_USER", "DB_PASSWORD"] {
            pod.secret_map.insert(key.to_owned(), "given".to_owned());
        }
        let ledger = BTreeSet::from(["secret_map".to_owned()]);
        let home = Home { tenant: &tenant, tenant_host: "tacc.tapis.io", pod_id: "mypod" };
        let derived = derive(&pod, &ledger, &chain(reference, &tags).unwrap(), home).definition;
        let credentials = Credentials {
            user_username: "mypod".to_owned(),
            user_password: "userpass".to_owned(),
            admin_username: "podsservice".to_owned(),
            admin_password: "servicepass".to_owned(),
            random: placeholder::random_keys(&derived.secret_map)
                .into_iter()
                .map(|(key, length)| (key, "r".repeat(length)))
                .collect(),
        };
        let resolved = resolve(&derived, &credentials, home).unwrap();
        let environment = &resolved.environment;
        for (name, value) in environment {
            assert!(
                !value.is_empty() && !value.contains("${") && !value.contains("<<"),
                "{reference} {name}: {value}"
            );
        }
        match reference.split(':').next().unwrap() {
            "neo4j" => {
                assert_eq!(environment["NEO4J_AUTH"], "neo4j/servicepass");
                assert_eq!(
                    environment["NEO4J_server_bolt_advertised__address"],
                    "mypod.pods.tacc.tapis.io:443"
                );
            }
            "postgres" => {
                assert_eq!(environment["POD_HOST"], "mypod.pods.tacc.tapis.io");
                assert_eq!(
                    (&*environment["POSTGRES_USER"], &*environment["POSTGRES_PASSWORD"]),
                    ("mypod", "userpass")
                );
            }
            "kafka" => {
                assert_eq!(environment["KAFKA_ADVERTISED_LISTENERS"], "PLAINTEXT://pods-tacc-tacc-mypod:9092")
            }
            _ => {}
        }
    }
}

#[test]
fn mistakes_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("no yaml: [", "expected"),
        ("template_id: abc", "missing field"),
        ("{template_id: tags, description: x, metatags: [], images: [], tags: []}", "reserved"),
        ("{template_id: abc, description: x, metatags: [], images: [UPPER], tags: []}", "UPPER"),
        (
            "{template_id: abc, description: x, metatags: [], images: [], tags: [{tag: a, timestamp: now, \
             commit_message: x, description: x, pod_definition: {}}]}",
            "must look like",
        ),
        (
            "{template_id: abc, description: x, metatags: [], images: [], tags: [{tag: a, timestamp: \
             2026-11-01-12:00:00, commit_message: x, description: x, pod_definition: {template: neo4j}}]}",
            "no single tag",
        ),
        (
            "{template_id: abc, description: x, metatags: [], images: [], tags: [{tag: a, timestamp: \
             2026-11-01-12:00:00, commit_message: x, description: x, pod_definition: {bogus: 1}}]}",
            "bogus",
        ),
    ];
    for (text, expected) in cases {
        std::fs::write(dir.path().join("abc.yaml"), text).unwrap();
        let error = format!("{:#}", Catalogue::read(&[dir.path().to_owned()]).unwrap_err());
        assert!(error.contains("abc.yaml") && error.contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_twice_changes_nothing_and_respects_what_others_did() {
    let database = TestDatabase::new().await;
    let mut conn = database.conn().await;
    let owner = Owner { tenant: Tenant::new("dev", "admin"), username: "pods".to_owned() };
    let now = Utc::now();
    let foreign = Tenant::new("dev", "dev");
    let theirs = NewTemplateRow {
        tenant: &foreign,
        template_id: "redis",
        description: "ours",
        metatags: Vec::new(),
        archive_message: "",
        creator: "alice",
        now,
    };
    TemplateRow::create(&mut conn, theirs).await.unwrap();

    let standard = standard();
    let loaded = load_into(&mut conn, &standard, &owner, now).await.unwrap();
    assert_eq!(loaded.templates_created, standard.entries.len() - 1);
    assert!(loaded.images_added > 0 && loaded.tags_added > loaded.templates_created);
    let again = load_into(&mut conn, &standard, &owner, now).await.unwrap();
    assert_eq!(again, Loaded::default());

    let anybody = Tenant::new("dev", "other");
    let (neo4j, level) = TemplateRow::find(&mut conn, &anybody, "neo4j", "somebody").await.unwrap().unwrap();
    assert_eq!(level, Level::Read);
    let exact =
        TagRow::find(&mut conn, neo4j.template_uid, "5.26s3se@2025-01-30-17:14:14", Definitions::Whole)
            .await
            .unwrap();
    assert_eq!(exact[0].reference, "neo4j:5.26s3se@2025-01-30-17:14:14");
    let redis = TemplateRow::live(&mut conn, "dev", "redis").await.unwrap().unwrap();
    assert_eq!((redis.tenant_id.as_str(), redis.description.as_str()), ("dev", "ours"));
    assert!(TagRow::list(&mut conn, redis.template_uid, Definitions::Absent).await.unwrap().is_empty());

    permissions::grant(&mut conn, Object::Template(neo4j.template_uid), EVERYBODY, Level::None)
        .await
        .unwrap();
    let changed = TemplateChanges { description: Some("changed".to_owned()), ..TemplateChanges::default() };
    TemplateRow::update(&mut conn, neo4j.template_uid, changed, now).await.unwrap();
    let mended = load_into(&mut conn, &standard, &owner, now).await.unwrap();
    assert_eq!(mended, Loaded { templates_updated: 1, ..Loaded::default() });
    let (_, level) = TemplateRow::find(&mut conn, &anybody, "neo4j", "somebody")
        .await
        .unwrap()
        .unwrap_or((neo4j, Level::None));
    assert_eq!(level, Level::None, "a permission that an administrator took away stays away");
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_that_build_on_others_are_loaded_after_them() {
    let database = TestDatabase::new().await;
    let mut conn = database.conn().await;
    let owner = Owner { tenant: Tenant::new("dev", "admin"), username: "pods".to_owned() };
    let loaded = load_into(&mut conn, &development(), &owner, Utc::now()).await.unwrap();
    assert_eq!((loaded.templates_created, loaded.tags_added), (2, 2));
}
