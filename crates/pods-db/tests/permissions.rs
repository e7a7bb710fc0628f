//! Permissions: somebody always stays ADMIN.

use pods_core::{Level, Tenant, transition::Event};
use pods_db::{
    permissions::{self, PermissionError},
    pods::{CreateError, PodRow},
    testing::{TestDatabase, done, new_pod, now, pod, tenant},
    transitions::Change,
};

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_who_remove_each_other_leave_one() {
    let database = TestDatabase::new().await;
    let row = pod(&mut *database.conn().await, "docpod", false).await;
    for round in 0..200 {
        permissions::set(&mut *database.conn().await, row.uid, "alice", Level::Admin).await.unwrap();
        permissions::set(&mut *database.conn().await, row.uid, "bob", Level::Admin).await.unwrap();
        let remove = async |user| {
            let conn = &mut database.conn().await;
            match round % 2 {
                0 => permissions::delete(conn, row.uid, user).await,
                _ => permissions::set(conn, row.uid, user, Level::Read).await,
            }
        };
        let (first, second) = tokio::join!(remove("alice"), remove("bob"));
        assert!(
            matches!(
                (&first, &second),
                (Ok(_), Err(PermissionError::LastAdmin)) | (Err(PermissionError::LastAdmin), Ok(_))
            ),
            "{first:?} {second:?}"
        );
        let left = permissions::list(&mut *database.conn().await, row.uid).await.unwrap();
        assert_eq!(left.iter().filter(|(_, level)| *level == Level::Admin).count(), 1, "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_replace_each_other_and_keep_their_order() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", false).await;
    permissions::set(conn, row.uid, "zoe", Level::Read).await.unwrap();
    permissions::set(conn, row.uid, "bob", Level::User).await.unwrap();
    let grants = permissions::set(conn, row.uid, "zoe", Level::ApprovedAdmin).await.unwrap();
    let expected = [("alice", Level::Admin), ("zoe", Level::ApprovedAdmin), ("bob", Level::User)];
    assert_eq!(grants, expected.map(|(user, level)| (user.to_owned(), level)));
    permissions::set(conn, row.uid, "alice", Level::None).await.expect("an APPROVEDADMIN administers");
    let refused = permissions::delete(conn, row.uid, "nobody").await;
    assert!(matches!(refused, Err(PermissionError::NoEntry)));
    let gone = done(conn, &row, Change::new(Event::Delete, now())).await;
    let refused = permissions::set(conn, gone.uid, "bob", Level::Read).await;
    assert!(matches!(refused, Err(PermissionError::Gone)));
}

#[tokio::test(flavor = "multi_thread")]
async fn finders_stay_within_the_tenant_and_the_permissions() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let mine = pod(conn, "shop", false).await;
    pod(conn, "another", false).await;
    let two = Tenant::new("dev", "dev-two");
    PodRow::create(conn, new_pod(&two, "shop", false)).await.unwrap();
    let (found, level) = PodRow::find(conn, &tenant(), "shop", "alice").await.unwrap().unwrap();
    assert_eq!((found.uid, level), (mine.uid, Level::Admin));
    let (_, level) = PodRow::find(conn, &tenant(), "shop", "bob").await.unwrap().unwrap();
    assert_eq!(level, Level::None);
    assert!(PodRow::find(conn, &Tenant::new("far", "dev"), "shop", "alice").await.unwrap().is_none());

    let ids = |rows: Vec<PodRow>| rows.into_iter().map(|row| row.pod_id).collect::<Vec<_>>();
    permissions::set(conn, mine.uid, "bob", Level::Read).await.unwrap();
    permissions::set(conn, mine.uid, "eve", Level::None).await.unwrap();
    assert_eq!(ids(PodRow::list_readable(conn, &tenant(), "alice").await.unwrap()), ["another", "shop"]);
    assert_eq!(ids(PodRow::list_readable(conn, &tenant(), "bob").await.unwrap()), ["shop"]);
    assert!(PodRow::list_readable(conn, &tenant(), "eve").await.unwrap().is_empty());
    assert!(PodRow::list_readable(conn, &two, "bob").await.unwrap().is_empty());
    assert_eq!(ids(PodRow::list_all(conn, &tenant()).await.unwrap()), ["another", "shop"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_taken_once_however_many_try_and_free_after_a_deletion() {
    let database = TestDatabase::new().await;
    let tenant = tenant();
    for round in 0..3 {
        let attempts = (0..8).map(async |_| {
            PodRow::create(&mut *database.conn().await, new_pod(&tenant, "docpod", round == 1)).await
        });
        let results = futures::future::join_all(attempts).await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert!(lost.iter().all(|result| matches!(result, Err(CreateError::Exists))), "{lost:?}");
        let conn = &mut database.conn().await;
        let row = won.into_iter().next().unwrap().unwrap();
        permissions::set(conn, row.uid, "eve", Level::User).await.unwrap();
        done(conn, &row, Change::new(Event::Delete, now())).await;
        let again = pod(conn, "docpod", false).await;
        let grants = permissions::list(conn, again.uid).await.unwrap();
        assert_eq!(grants, [("alice".to_owned(), Level::Admin)], "nothing of the deleted pod is inherited");
        done(conn, &again, Change::new(Event::Delete, now())).await;
    }
}
