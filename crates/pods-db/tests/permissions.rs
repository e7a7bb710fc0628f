//! Permissions: somebody always stays ADMIN.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use diesel_async::AsyncConnection;
use pods_core::{
    Level, Tenant, VolumeMount,
    mount::MountKind,
    permission::{Action, Caller, Denied, decide},
    transition::Event,
};
use pods_db::{
    Connection, DbError, action_logs,
    permissions::{self, Object, PermissionError, Request},
    pods::{CreateError, PodRow},
    testing::{TestDatabase, done, new_pod, now, pod, template, tenant},
    transitions::{Applied, Change, apply},
};
use uuid::Uuid;

fn request<'a>(object: Object, tenant: &'a Tenant, actor: &'a str) -> Request<'a> {
    Request { object, tenant, actor, log: Some("changed permissions"), now: now() }
}

/// What the API asks: somebody without the admin role needs ADMIN.
fn as_user(level: Level) -> Result<(), Denied> {
    decide(Caller::USER, level, Action::SetPodPermission)
}

async fn two_admins_remove_each_other(database: &TestDatabase, object: Object) {
    let tenant = tenant();
    for round in 0..100 {
        let conn = &mut database.conn().await;
        permissions::grant(conn, object, "alice", Level::Admin).await.unwrap();
        permissions::grant(conn, object, "bob", Level::Admin).await.unwrap();
        let line = format!("round {round}");
        let remove = async |actor, user| {
            let conn = &mut database.conn().await;
            let request = Request { log: Some(&line), ..request(object, &tenant, actor) };
            match round % 2 {
                0 => permissions::delete(conn, &request, user, as_user).await,
                _ => permissions::set(conn, &request, user, Level::Read, as_user).await,
            }
        };
        let (first, second) = tokio::join!(remove("bob", "alice"), remove("alice", "bob"));
        assert!(
            matches!(
                (&first, &second),
                (Ok(_), Err(PermissionError::Denied(_))) | (Err(PermissionError::Denied(_)), Ok(_))
            ),
            "{first:?} {second:?}"
        );
        let left = permissions::list(conn, object).await.unwrap();
        assert_eq!(left.iter().filter(|(_, level)| *level == Level::Admin).count(), 1, "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_who_remove_each_other_leave_one() {
    let database = TestDatabase::new().await;
    let row = pod(&mut *database.conn().await, "docpod", false).await;
    two_admins_remove_each_other(&database, Object::Pod(row.uid)).await;
    let lines = action_logs::list(&mut *database.conn().await, row.uid).await.unwrap();
    assert_eq!(lines.len(), 101, "each change has its line, what was refused has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_of_a_template_who_remove_each_other_leave_one() {
    let database = TestDatabase::new().await;
    let row = template(&mut *database.conn().await, "shop").await;
    two_admins_remove_each_other(&database, Object::Template(row.template_uid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_who_step_down_together_leave_one() {
    let database = TestDatabase::new().await;
    let tenant = tenant();
    let object = Object::Pod(pod(&mut *database.conn().await, "docpod", false).await.uid);
    for _ in 0..50 {
        let conn = &mut database.conn().await;
        permissions::grant(conn, object, "alice", Level::Admin).await.unwrap();
        permissions::grant(conn, object, "bob", Level::Admin).await.unwrap();
        let leave = async |actor| {
            let conn = &mut database.conn().await;
            permissions::delete(conn, &request(object, &tenant, actor), actor, as_user).await
        };
        let (first, second) = tokio::join!(leave("alice"), leave("bob"));
        assert!(
            matches!(
                (&first, &second),
                (Ok(_), Err(PermissionError::LastAdmin)) | (Err(PermissionError::LastAdmin), Ok(_))
            ),
            "{first:?} {second:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_replace_each_other_and_keep_their_order() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let tenant = tenant();
    let row = pod(conn, "docpod", false).await;
    let alice = request(Object::Pod(row.uid), &tenant, "alice");
    permissions::set(conn, &alice, "zoe", Level::Read, as_user).await.unwrap();
    permissions::set(conn, &alice, "bob", Level::User, as_user).await.unwrap();
    let lines = action_logs::list(conn, row.uid).await.unwrap();
    assert_eq!(lines.len(), 2, "a line like the newest one is not repeated: {lines:?}");
    let grants = permissions::set(conn, &alice, "zoe", Level::ApprovedAdmin, as_user).await.unwrap();
    let expected = [("alice", Level::Admin), ("zoe", Level::ApprovedAdmin), ("bob", Level::User)];
    assert_eq!(grants, expected.map(|(user, level)| (user.to_owned(), level)));
    permissions::set(conn, &alice, "alice", Level::None, as_user)
        .await
        .expect("an APPROVEDADMIN administers");
    let refused = permissions::set(conn, &alice, "alice", Level::Admin, as_user).await;
    assert!(matches!(refused, Err(PermissionError::Denied(_))), "who stepped down cannot step up again");
    let zoe = request(Object::Pod(row.uid), &tenant, "zoe");
    let refused = permissions::delete(conn, &zoe, "nobody", as_user).await;
    assert!(matches!(refused, Err(PermissionError::NoEntry)));
    let outdated = apply(conn, &row, Change::new(Event::Delete, now())).await.unwrap();
    assert_eq!(outdated, Applied::Moved, "what was decided with the level of before is decided again");
    let row = PodRow::by_uid(conn, row.uid).await.unwrap().unwrap();
    let gone = done(conn, &row, Change::new(Event::Delete, now())).await;
    let refused = permissions::set(conn, &zoe, "bob", Level::Read, as_user).await;
    assert!(matches!(refused, Err(PermissionError::Gone)), "{}", gone.pod_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_level_stays_until_the_transaction_ends() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let tenant = tenant();
    let object = Object::Template(template(conn, "shop").await.template_uid);
    permissions::grant(conn, object, "bob", Level::Admin).await.unwrap();
    let other = &mut database.conn().await;
    let take_away = request(object, &tenant, "alice");
    let taken = permissions::delete(other, &take_away, "bob", as_user);
    let held = conn.transaction(async |conn| {
        let level = permissions::lock(conn, object, &tenant, "bob").await?;
        let (waits, again) = tokio::join!(
            tokio::time::timeout(std::time::Duration::from_millis(200), taken),
            permissions::lock(conn, object, &tenant, "bob"),
        );
        assert!(waits.is_err(), "it waits for the end of this transaction");
        Ok::<_, DbError>((level, again?))
    });
    assert_eq!(held.await.unwrap(), (Some(Level::Admin), Some(Level::Admin)));
    let nobody = permissions::lock(conn, Object::Template(Uuid::new_v4()), &tenant, "bob").await.unwrap();
    assert_eq!(nobody, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_without_the_contents_of_files() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let tenant = tenant();
    let mut new = new_pod(&tenant, "docpod", false);
    let mut mount = VolumeMount::new(MountKind::Ephemeral);
    mount.config_content = Some("password".to_owned());
    new.definition.volume_mounts =
        [("/etc/app.ini".to_owned(), Some(mount)), ("/gone".to_owned(), None)].into();
    let row = PodRow::create(conn, new).await.unwrap();
    let mut redacted = row.clone();
    redacted.definition.redact_contents();
    assert_ne!(redacted, row);
    let listed = PodRow::list_readable(conn, &tenant, "alice").await.unwrap();
    assert_eq!(listed, [(redacted.clone(), Level::Admin)]);
    assert_eq!(PodRow::list_all(conn, &tenant).await.unwrap(), [redacted]);
    assert_eq!(PodRow::by_uid(conn, row.uid).await.unwrap(), Some(row));
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
    let readable = async |conn: &mut Connection, tenant: &Tenant, user: &str| {
        let rows = PodRow::list_readable(conn, tenant, user).await.unwrap();
        rows.into_iter().map(|(row, level)| (row.pod_id, level)).collect::<Vec<_>>()
    };
    permissions::grant(conn, Object::Pod(mine.uid), "bob", Level::Read).await.unwrap();
    permissions::grant(conn, Object::Pod(mine.uid), "eve", Level::None).await.unwrap();
    let both = [("another".to_owned(), Level::Admin), ("shop".to_owned(), Level::Admin)];
    assert_eq!(readable(conn, &tenant(), "alice").await, both);
    assert_eq!(readable(conn, &tenant(), "bob").await, [("shop".to_owned(), Level::Read)]);
    assert_eq!(readable(conn, &tenant(), "eve").await, []);
    assert_eq!(readable(conn, &two, "bob").await, []);
    assert_eq!(readable(conn, &two, "alice").await, [("shop".to_owned(), Level::Admin)]);
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
        permissions::grant(conn, Object::Pod(row.uid), "eve", Level::User).await.unwrap();
        done(conn, &row, Change::new(Event::Delete, now())).await;
        let again = pod(conn, "docpod", false).await;
        let grants = permissions::list(conn, Object::Pod(again.uid)).await.unwrap();
        assert_eq!(grants, [("alice".to_owned(), Level::Admin)], "nothing of the deleted pod is inherited");
        done(conn, &again, Change::new(Event::Delete, now())).await;
    }
}
