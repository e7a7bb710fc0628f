//! Templates and tags: identity, who sees what, deletion and what stands in its way.

use std::collections::HashMap;

use chrono::TimeDelta;
use pods_core::{
    Level, PodDefinition, TemplateDefinition, Tenant, VolumeMount, mount::MountKind,
    template::TemplateReference, transition::Event,
};
use pods_db::{
    Connection, derived,
    permissions::{self, Object},
    pods::{CreateError, NewPodRow, PodRow, UpdateError},
    template_tags::{self, AHEAD_MAX, CreateTagError, Definitions, Deletion, DependentPod, TagRow},
    templates::{CreateTemplateError, NewTemplateRow, Resolution, TemplateChanges, TemplateRow, resolve},
    testing::{TestDatabase, definition, done, new_pod, new_tag, now, pod, tag, template, tenant, update},
    transitions::Change,
};

fn building_on(parent: &str) -> TemplateDefinition {
    TemplateDefinition { template: Some(parent.to_owned()), ..TemplateDefinition::default() }
}

fn using(reference: &str) -> PodDefinition {
    PodDefinition { template: reference.to_owned(), ..definition() }
}

async fn pod_using(
    conn: &mut Connection,
    tenant: &Tenant,
    id: &str,
    reference: &str,
) -> Result<PodRow, CreateError> {
    PodRow::create(conn, NewPodRow { definition: using(reference), ..new_pod(tenant, id, false) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_of_one_second_get_different_references() {
    let database = TestDatabase::new().await;
    let shop = template(&mut *database.conn().await, "shop").await;
    let (tenant, at) = (tenant(), now());
    let add = async |_| {
        let conn = &mut database.conn().await;
        let mut new = new_tag(&shop, &tenant, "latest", TemplateDefinition::default());
        new.now = at;
        TagRow::create(conn, new).await.unwrap()
    };
    let mut added = futures::future::join_all((0..8).map(add)).await;
    added.sort_by_key(|tag| std::cmp::Reverse(tag.creation_ts));
    let conn = &mut database.conn().await;
    let listed = TagRow::list(conn, shop.template_uid, Definitions::Whole).await.unwrap();
    assert_eq!(listed, added, "newest first");
    for (nth, tag) in listed.iter().rev().enumerate() {
        let stamp = (at + TimeDelta::seconds(nth.try_into().unwrap())).format("%Y-%m-%d-%H:%M:%S");
        assert_eq!(tag.reference, format!("shop:latest@{stamp}"));
        assert_eq!(tag.tag_timestamp, format!("latest@{stamp}"));
        assert_eq!(tag.template_id(), "shop");
    }
    let other = template(conn, "other").await;
    let other = tag(conn, &other, "latest", TemplateDefinition::default()).await;
    assert!(other.creation_ts < at + TimeDelta::seconds(60), "another template's tags are not in the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_added_again_and_again_costs_the_same_each_time_and_has_an_end() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let (shop, tenant) = (template(conn, "shop").await, tenant());
    let mut new = new_tag(&shop, &tenant, "latest", TemplateDefinition::default());
    new.now = now();
    let (mut added, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let before = database.db().statements();
        match TagRow::create(conn, new.clone()).await {
            Ok(tag) => {
                added.push(tag.reference);
                costs.push(database.db().statements() - before);
            }
            Err(error) => assert!(matches!(error, CreateTagError::TooMany), "{error:?}"),
        }
    }
    assert_eq!(added.len() as i64, AHEAD_MAX + 1, "this second and those of the next minute");
    costs.dedup();
    assert_eq!(costs.len(), 1, "{costs:?}");
    new.tag = "other";
    TagRow::create(conn, new.clone()).await.unwrap();
    (new.tag, new.now) = ("latest", new.now + TimeDelta::seconds(1));
    TagRow::create(conn, new.clone()).await.unwrap();

    // What is deleted keeps its reference, also when the template is made anew.
    TemplateRow::delete(conn, &shop, true, now()).await.unwrap();
    let anew = template(conn, "shop").await;
    new.template = &anew;
    assert!(matches!(TagRow::create(conn, new).await, Err(CreateTagError::TooMany)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_tags_read_as_much_of_the_definitions_as_they_need() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let shop = template(conn, "shop").await;
    let mut mount = VolumeMount::new(MountKind::Ephemeral);
    mount.config_content = Some("password".to_owned());
    let definition = TemplateDefinition {
        volume_mounts: [("/etc/app.ini".to_owned(), Some(mount)), ("/old".to_owned(), None)].into(),
        ..TemplateDefinition::default()
    };
    let added = tag(conn, &shop, "latest", definition).await;
    let whole = TagRow::list(conn, shop.template_uid, Definitions::Whole).await.unwrap();
    assert_eq!(whole, std::slice::from_ref(&added));
    let redacted = TagRow::find(conn, shop.template_uid, "latest", Definitions::Redacted).await.unwrap();
    let content = |tag: &TagRow| {
        tag.definition.volume_mounts["/etc/app.ini"].as_ref().unwrap().config_content.clone().unwrap()
    };
    assert!(content(&redacted[0]).starts_with("<8 characters"), "{redacted:?}");
    assert!(redacted[0].definition.volume_mounts.contains_key("/old"));
    let many = TagRow::list_many(conn, &[shop.template_uid], Definitions::Absent).await.unwrap();
    let absent = TagRow { definition: TemplateDefinition::default(), ..added.clone() };
    assert_eq!(many[&shop.template_uid], [absent], "everything else is there");

    let pod = pod_using(conn, &tenant(), "docpod", &added.reference).await.unwrap();
    let references = [pod.definition.template.as_str()];
    let tags = derived::tags_redacted(conn, "dev", references).await.unwrap();
    let merged = pod.derived(&tags).unwrap().definition;
    let shown = merged.volume_mounts["/etc/app.ini"].as_ref().unwrap().config_content.as_deref();
    assert_eq!(shown, Some(content(&redacted[0]).as_str()));
    let tags = derived::tags(conn, "dev", references).await.unwrap();
    assert_eq!(tags[&added.reference], added.definition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeded_tag_is_added_once() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let (shop, tenant) = (template(conn, "shop").await, tenant());
    let mut new = new_tag(&shop, &tenant, "16", TemplateDefinition::default());
    new.now = now() - TimeDelta::days(300);
    let first = TagRow::create_at(conn, new.clone()).await.unwrap().unwrap();
    assert_eq!(first.creation_ts, new.now);
    new.commit_message = "another";
    assert_eq!(TagRow::create_at(conn, new).await.unwrap(), None);
    assert_eq!(TagRow::list(conn, shop.template_uid, Definitions::Whole).await.unwrap(), [first]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_template_is_said_by_its_entries() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let (dev, two) = (tenant(), Tenant::new("dev", "dev-two"));
    for id in ["own", "public", "shared", "private"] {
        template(conn, id).await;
    }
    let grant = async |conn: &mut Connection, id: &str, user: &str, level| {
        let row = TemplateRow::live(conn, "dev", id).await.unwrap().unwrap();
        permissions::grant(conn, Object::Template(row.template_uid), user, level).await.unwrap();
    };
    grant(conn, "public", "**", Level::Read).await;
    grant(conn, "shared", "tenant.dev-two", Level::Read).await;
    grant(conn, "own", "bob", Level::User).await;
    grant(conn, "public", "bob", Level::None).await;
    grant(conn, "private", "tenant.dev", Level::Admin).await;
    let levels = async |conn: &mut Connection, tenant: &Tenant, user: &str| {
        let rows = TemplateRow::list_readable(conn, tenant, user).await.unwrap();
        let listed: HashMap<String, Level> =
            rows.into_iter().map(|(row, level)| (row.template_id, level)).collect();
        for id in ["own", "public", "shared", "private"] {
            let (_, level) = TemplateRow::find(conn, tenant, id, user).await.unwrap().unwrap();
            assert_eq!(listed.get(id).copied().unwrap_or(Level::None), level, "{id} for {user}");
        }
        let mut listed: Vec<(String, Level)> = listed.into_iter().collect();
        listed.sort();
        listed
    };
    let list = |entries: &[(&str, Level)]| {
        entries.iter().map(|(id, level)| ((*id).to_owned(), *level)).collect::<Vec<_>>()
    };
    let all = ["own", "private", "public", "shared"].map(|id| (id, Level::Admin));
    assert_eq!(levels(conn, &dev, "alice").await, list(&all));
    let bob = [("own", Level::User), ("private", Level::Read), ("public", Level::Read)];
    assert_eq!(
        levels(conn, &dev, "bob").await,
        list(&bob),
        "the highest entry counts; many get READ at most"
    );
    let far = [("public", Level::Read), ("shared", Level::Read)];
    assert_eq!(levels(conn, &two, "alice").await, list(&far), "alice of another tenant is somebody else");
    let named = [("private", Level::Read), ("public", Level::Read)];
    assert_eq!(levels(conn, &dev, "tenant.dev-two").await, list(&named), "a name is no tenant");
    assert!(TemplateRow::find(conn, &Tenant::new("far", "dev"), "own", "alice").await.unwrap().is_none());
    assert_eq!(TemplateRow::list_all(conn, "dev").await.unwrap().len(), 4);
    assert_eq!(TemplateRow::list_all(conn, "far").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn references_lead_to_the_newest_or_to_the_named_tag() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let dev = tenant();
    let (shop, other) = (template(conn, "shop").await, template(conn, "other").await);
    let old = tag(conn, &shop, "latest", TemplateDefinition::default()).await;
    let new = tag(conn, &shop, "latest", TemplateDefinition::default()).await;
    let spring = tag(conn, &shop, "spring.1", TemplateDefinition::default()).await;
    tag(conn, &other, "autumn", TemplateDefinition::default()).await;
    for (text, expected) in
        [("shop", &new), ("shop:latest", &new), (old.reference.as_str(), &old), ("shop:spring.1", &spring)]
    {
        let reference = TemplateReference::parse(text).unwrap();
        match resolve(conn, &dev, "alice", &reference).await.unwrap() {
            Resolution::Found(found) => {
                assert_eq!((found.tag, found.level), (expected.clone(), Level::Admin))
            }
            nothing => panic!("{text}: {nothing:?}"),
        }
    }
    for text in ["other", "other:spring.1", "shop:autumn", "shop:latest@2020-01-01-00:00:00"] {
        let found = resolve(conn, &dev, "bob", &TemplateReference::parse(text).unwrap()).await.unwrap();
        assert!(matches!(found, Resolution::NoTag { level: Level::None, .. }), "{text}: {found:?}");
    }
    let unknown = TemplateReference::parse("nothing").unwrap();
    assert_eq!(resolve(conn, &dev, "alice", &unknown).await.unwrap(), Resolution::NoTemplate);

    let find = async |conn: &mut Connection, id: &str| {
        TagRow::find(conn, shop.template_uid, id, Definitions::Whole).await.unwrap()
    };
    assert_eq!(find(conn, "latest").await, [new.clone(), old.clone()]);
    assert_eq!(find(conn, &old.tag_timestamp).await, std::slice::from_ref(&old));
    assert_eq!(find(conn, "autumn").await, []);
    assert_eq!(find(conn, "nul\0").await, []);
    let many =
        TagRow::list_many(conn, &[shop.template_uid, other.template_uid], Definitions::Whole).await.unwrap();
    assert_eq!((many[&shop.template_uid].len(), many[&other.template_uid].len()), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_it_names() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let shop = template(conn, "shop").await;
    let later = now() + TimeDelta::seconds(5);
    let changes = TemplateChanges { metatags: Some(vec!["db".to_owned()]), ..TemplateChanges::default() };
    let after = TemplateRow::update(conn, shop.template_uid, changes, later).await.unwrap().unwrap();
    let expected = TemplateRow { metatags: vec!["db".to_owned()], update_ts: later, ..shop.clone() };
    assert_eq!(after, expected);
    let tenant = tenant();
    let again = NewTemplateRow {
        tenant: &tenant,
        template_id: "shop",
        description: "",
        metatags: Vec::new(),
        archive_message: "",
        creator: "bob",
        now: later,
    };
    let refused = TemplateRow::create(conn, again.clone()).await;
    assert!(matches!(refused, Err(CreateTemplateError::Exists)));
    assert!(matches!(TemplateRow::delete(conn, &shop, false, later).await.unwrap(), Deletion::Done(_)));
    let changes = TemplateChanges { description: Some("x".to_owned()), ..TemplateChanges::default() };
    assert_eq!(TemplateRow::update(conn, shop.template_uid, changes, later).await.unwrap(), None);
    let new = TemplateRow::create(conn, again).await.expect("the id is free again");
    let grants = permissions::list(conn, Object::Template(new.template_uid)).await.unwrap();
    assert_eq!(grants, [("bob".to_owned(), Level::Admin)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_something_builds_on_is_deleted_by_force_only_and_stays_usable() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let (dev, two) = (tenant(), Tenant::new("dev", "dev-two"));
    let (base, shop) = (template(conn, "base").await, template(conn, "shop").await);
    let deep = tag(conn, &base, "1", TemplateDefinition::default()).await;
    let close = tag(conn, &shop, "2", building_on(&deep.reference)).await;
    pod_using(conn, &dev, "one", &close.reference).await.unwrap();
    let row = pod_using(conn, &two, "two", &close.reference).await.unwrap();

    let pods = ["dev", "dev-two"].iter().zip(["one", "two"]);
    let pods: Vec<DependentPod> = pods
        .map(|(tenant, pod)| DependentPod { tenant_id: (*tenant).to_owned(), pod_id: pod.to_owned() })
        .collect();
    let found = template_tags::dependents(conn, "dev", &[&deep.reference, &close.reference]).await.unwrap();
    assert_eq!(found[&deep.reference].tags, [close.reference.as_str()]);
    assert_eq!(found[&close.reference].pods, pods);
    assert_eq!(template_tags::dependents(conn, "far", &[&deep.reference]).await.unwrap().len(), 0);

    match TagRow::delete(conn, &close, false, now()).await.unwrap() {
        Deletion::Refused(dependents) => assert_eq!(dependents.pods, pods),
        other => panic!("{other:?}"),
    }
    match TemplateRow::delete(conn, &base, false, now()).await.unwrap() {
        Deletion::Refused(dependents) => assert_eq!(dependents.tags, [close.reference.as_str()]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(TagRow::delete(conn, &close, true, now()).await.unwrap(), Deletion::Done(_)));
    assert_eq!(TagRow::delete(conn, &close, true, now()).await.unwrap(), Deletion::Gone);
    assert!(matches!(TemplateRow::delete(conn, &base, true, now()).await.unwrap(), Deletion::Done(_)));
    assert_eq!(TemplateRow::delete(conn, &base, true, now()).await.unwrap(), Deletion::Gone);
    assert_eq!(TagRow::find(conn, shop.template_uid, "2", Definitions::Whole).await.unwrap(), []);
    pods_db::derived::derive_one(conn, &row).await.expect("a pod goes on to derive from hidden tags");
    let refused = pod_using(conn, &dev, "three", &close.reference).await;
    assert!(matches!(refused, Err(CreateError::TemplateGone)), "{refused:?}");
    let refused = TagRow::create(conn, new_tag(&shop, &dev, "3", building_on(&deep.reference))).await;
    assert!(matches!(refused, Err(CreateTagError::ParentGone)), "{refused:?}");
    let refused = TagRow::create(conn, new_tag(&base, &dev, "3", TemplateDefinition::default())).await;
    assert!(matches!(refused, Err(CreateTagError::TemplateGone)), "{refused:?}");
    let changed = PodDefinition { description: "new".to_owned(), ..row.definition.clone() };
    update(conn, &row, changed).await.expect("a pod keeps its hidden template while others fields change");

    let again = template(conn, "base").await;
    let twin = tag(conn, &again, "1", TemplateDefinition::default()).await;
    assert_ne!(twin.reference, deep.reference, "a reference never comes to mean something else");
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_rows_are_purged_when_nothing_refers_to_them() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let dev = tenant();
    let base = template(conn, "base").await;
    let deep = tag(conn, &base, "1", TemplateDefinition::default()).await;
    let close = tag(conn, &base, "2", building_on(&deep.reference)).await;
    let user = pod_using(conn, &dev, "docpod", &close.reference).await.unwrap();
    assert!(matches!(TemplateRow::delete(conn, &base, true, now()).await.unwrap(), Deletion::Done(_)));
    let later = now() + TimeDelta::days(1);
    assert_eq!(TemplateRow::purge(conn, later).await.unwrap(), 0, "a pod uses them");
    let user = done(conn, &user, Change::new(Event::Delete, now())).await;
    assert_eq!(TemplateRow::purge(conn, later).await.unwrap(), 0, "its tombstone does");
    assert!(pods_db::transitions::mark_objects_gone(conn, &user, now()).await.unwrap());
    assert_eq!(PodRow::purge_tombstones(conn, later).await.unwrap(), 1);
    assert_eq!(TemplateRow::purge(conn, now() - TimeDelta::days(1)).await.unwrap(), 0, "too early");
    assert_eq!(TemplateRow::purge(conn, later).await.unwrap(), 1, "the outer tag");
    assert_eq!(TemplateRow::purge(conn, later).await.unwrap(), 2, "the inner tag and the template");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_and_a_new_use_never_both_succeed() {
    let database = TestDatabase::new().await;
    let dev = tenant();
    let shop = template(&mut *database.conn().await, "shop").await;
    for round in 0..60 {
        let used = tag(&mut *database.conn().await, &shop, "latest", TemplateDefinition::default()).await;
        let id = format!("pod{round}");
        let delete = async {
            let conn = &mut database.conn().await;
            TagRow::delete(conn, &used, false, now()).await.unwrap()
        };
        let (deletion, conflict) = match round % 3 {
            0 => {
                let create =
                    async { pod_using(&mut *database.conn().await, &dev, &id, &used.reference).await };
                let (deletion, created) = tokio::join!(delete, create);
                (deletion, matches!(created, Err(CreateError::TemplateGone)))
            }
            1 => {
                let row = pod(&mut *database.conn().await, &id, false).await;
                let change = async {
                    let conn = &mut database.conn().await;
                    let limits = pods_db::pods::RunLimits::of(&row.definition);
                    let new = pods_db::pods::NewDefinition {
                        definition: using(&used.reference),
                        modified_fields: row.modified_fields.clone(),
                        tenant_host: "dev.localhost",
                        old_limits: limits,
                        new_limits: limits,
                        now: now(),
                    };
                    PodRow::update_definition(conn, &row, new).await
                };
                let (deletion, changed) = tokio::join!(delete, change);
                (deletion, matches!(changed, Err(UpdateError::TemplateGone)))
            }
            _ => {
                let build = async {
                    let conn = &mut database.conn().await;
                    TagRow::create(conn, new_tag(&shop, &dev, "next", building_on(&used.reference))).await
                };
                let (deletion, built) = tokio::join!(delete, build);
                (deletion, matches!(built, Err(CreateTagError::ParentGone)))
            }
        };
        assert_eq!(matches!(deletion, Deletion::Done(_)), conflict, "round {round}: {deletion:?}");
    }
}
