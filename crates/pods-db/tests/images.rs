//! The allowlist: no image twice, bulk additions all or none.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use pods_core::image::ImageReference;
use pods_db::{
    Connection,
    images::{AddError, Added, ImageRow, NewImageRow},
    testing::{TestDatabase, now},
};

async fn add(conn: &mut Connection, images: &[&str], skip: bool) -> Result<Added, AddError> {
    let references: Vec<ImageReference> =
        images.iter().map(|image| ImageReference::parse(image).unwrap()).collect();
    let new: Vec<NewImageRow> = references
        .iter()
        .zip(images)
        .map(|(reference, image)| NewImageRow {
            reference,
            image,
            tenants: vec!["*".to_owned()],
            description: "",
            added_by: "root",
            now: now(),
        })
        .collect();
    ImageRow::create_many(conn, "dev", &new, skip).await
}

fn names(rows: &[ImageRow]) -> Vec<&str> {
    rows.iter().map(|row| row.image.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_are_all_or_none_unless_duplicates_may_be_skipped() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let added = add(conn, &["redis", "postgres:16"], false).await.unwrap();
    assert_eq!(names(&added.rows), ["redis", "postgres:16"]);
    match add(conn, &["mongo", "docker.io/library/redis", "nginx", "nginx"], false).await {
        Err(AddError::Duplicates(mut images)) => {
            images.sort();
            assert_eq!(images, ["docker.io/library/redis", "nginx"]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(names(&ImageRow::list(conn, "dev").await.unwrap()), ["postgres:16", "redis"]);
    let added = add(conn, &["mongo", "redis", "nginx", "nginx"], true).await.unwrap();
    assert_eq!(names(&added.rows), ["mongo", "nginx"]);
    assert_eq!(added.duplicates.len(), 2);
    assert_eq!(add(conn, &[], false).await.unwrap().rows, []);
    assert_eq!(ImageRow::list(conn, "dev").await.unwrap().len(), 4);
    assert_eq!(ImageRow::list(conn, "far").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_those_of_the_repository() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    add(conn, &["redis:7", "redis:8", "ghcr.io/acme/redis", "redisinsight"], false).await.unwrap();
    let redis = ImageReference::parse("docker.io/redis:8").unwrap();
    let before = database.db().statements();
    let rules = ImageRow::rules_for(conn, "dev", &redis.repository_key()).await.unwrap();
    assert_eq!(database.db().statements() - before, 1);
    assert_eq!(rules.len(), 2);
    assert!(rules.iter().any(|rule| redis.is_covered_by(&rule.reference)));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_changed_and_removed_by_their_canonical_name() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    add(conn, &["redis"], false).await.unwrap();
    let canonical = ImageReference::parse("library/redis").unwrap().canonical();
    let row = ImageRow::find(conn, "dev", &canonical).await.unwrap().unwrap();
    let tenants = vec!["dev".to_owned()];
    let after = ImageRow::update(conn, "dev", &canonical, Some(tenants.clone()), None).await.unwrap();
    assert_eq!(after, Some(ImageRow { tenants, ..row.clone() }));
    let after = ImageRow::update(conn, "dev", &canonical, None, Some("cache")).await.unwrap().unwrap();
    assert_eq!(after.description, "cache");
    assert_eq!(ImageRow::update(conn, "dev", &canonical, None, None).await.unwrap(), Some(after));
    assert_eq!(ImageRow::update(conn, "dev", "nothing", None, Some("x")).await.unwrap(), None);
    assert!(ImageRow::delete(conn, "dev", &canonical).await.unwrap());
    assert!(!ImageRow::delete(conn, "dev", &canonical).await.unwrap());
    assert_eq!(ImageRow::find(conn, "dev", &canonical).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_in_another_order_do_not_wait_for_each_other() {
    let database = TestDatabase::new().await;
    for round in 0..20 {
        let images: Vec<String> = (0..50).map(|nth| format!("image{round}x{nth}")).collect();
        let forwards: Vec<&str> = images.iter().map(String::as_str).collect();
        let backwards: Vec<&str> = forwards.iter().rev().copied().collect();
        let both = [&forwards, &backwards];
        let results =
            futures::future::join_all(both.map(async |images: &Vec<&str>| {
                add(&mut *database.conn().await, images, true).await.unwrap()
            }));
        let added = results.await;
        assert_eq!(added[0].rows.len() + added[1].rows.len(), 50);
        for (added, order) in added.iter().zip(both).filter(|(added, _)| added.duplicates.is_empty()) {
            assert_eq!(names(&added.rows), *order, "the order of the request");
        }
    }
}
