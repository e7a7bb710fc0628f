//! Domains of users, proven by a record in a real DNS server, and reached through the proxy.

use integration_tests::{
    Caller, Scene, await_condition,
    dns::{Records, SERVER},
    process::Outage,
    visit::Visitor,
    wait::LIMIT,
};
use serde_json::{Value, json};

/// A pod that says its id, and wants a domain.
async fn shop(scene: &Scene, caller: &Caller, prefix: &str, domain: &str) -> String {
    let id = scene.id(prefix);
    let script =
        format!("mkdir /tmp/www; echo I am {id} > /tmp/www/index.html; httpd -f -p 5000 -h /tmp/www");
    let entry = json!({ "port": 5000, "custom_domain": domain, "custom_domain_verified": true });
    let body = json!({ "pod_id": id, "image": "busybox", "command": ["sh", "-c", script], "networking": { "default": entry } });
    scene.create(caller, body).await;
    id
}

/// What the users of a pod are told about its domain.
async fn note(caller: &Caller, id: &str) -> Value {
    let explained = caller.get(&format!("/v3/pods/{id}/explain")).await.result();
    explained["networking"][0]["custom_domain"].clone()
}

/// Waits until the users of a pod are told so about its domain.
async fn await_note(caller: &Caller, id: &str, verified: bool, part: &str) -> Value {
    await_condition(&format!("the domain of {id}: verified {verified}, {part:?}"), LIMIT, || async {
        let note = note(caller, id).await;
        let fine =
            note["verified"] == verified && note["message"].as_str().unwrap_or_default().contains(part);
        if fine { Ok(note) } else { Err(note.to_string()) }
    })
    .await
}

async fn await_logged(caller: &Caller, id: &str, part: &str) {
    await_condition(&format!("the action log of {id} says {part:?}"), LIMIT, || async {
        let lines = caller.action_logs(id).await;
        if lines.iter().any(|line| line.contains(part)) { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_domain_is_proven_by_its_record_moves_with_it_and_is_lost_without_it() {
    let scene = Scene::new().await;
    let domain = format!("{}.example.org", scene.id("shop"));
    let alices = shop(&scene, &scene.alice, "domain", &domain.to_uppercase()).await;
    scene.alice.await_status(&alices, "AVAILABLE").await;
    let visitor = Visitor::of_domain(&scene.env, &domain);
    let reaches = async |id: &str| visitor.await_page(&domain, "/", 200, &format!("I am {id}")).await;
    let unproven = await_note(&scene.alice, &alices, false, "once there is a TXT record").await;
    let (name, text) = (unproven["record_name"].as_str().unwrap(), unproven["record_text"].as_str().unwrap());
    assert_eq!(name, format!("_tapis-pods.{domain}"));
    let page = visitor.https(&domain, "/").await;
    assert_eq!(page.code, 404, "nothing is proven by wanting it: {page:?}");
    assert!(page.text.contains("There is no pod here"), "{page:?}");

    let mut dns = Records::new(&scene.env);
    dns.say(name, &["v=spf1 -all", text]);
    await_note(&scene.alice, &alices, true, "Verified at").await;
    assert_eq!(scene.alice.pod(&alices).await["networking"]["default"]["custom_domain_verified"], true);
    reaches(&alices).await;
    await_logged(&scene.alice, &alices, &format!("Custom domain {domain} is verified")).await;
    let plain = visitor.http(&domain, "/a?b=c").await;
    let location = format!("https://{domain}:{}/a?b=c", scene.env.https_port);
    assert_eq!((plain.code, plain.location), (308, location));
    let own = scene.env.pod_host(&alices, "default");
    scene.visitor.await_page(&own, "/", 200, &format!("I am {alices}")).await;

    // Nobody else gets it, not even with a record, while it is somebody's.
    let bobs = shop(&scene, &scene.bob, "rival", &domain).await;
    scene.bob.await_status(&bobs, "AVAILABLE").await;
    let rival = await_note(&scene.bob, &bobs, false, "names something else").await;
    let rivals_text = rival["record_text"].as_str().unwrap();
    assert!(
        rivals_text != text && !rival.to_string().contains(text),
        "whose it is is nobody's business: {rival}"
    );
    dns.say(name, &[rivals_text, text]);
    await_note(&scene.bob, &bobs, false, "Another pod has it").await;
    reaches(&alices).await;

    // No answer is no "no".
    let outage = Outage::stop(&scene.env, SERVER);
    await_note(&scene.alice, &alices, true, "DNS has not answered").await;
    reaches(&alices).await;
    outage.end();

    // Without its record it goes on for the time of grace.
    dns.say(name, &[]);
    await_note(&scene.alice, &alices, true, "stops leading to the pod unless").await;
    reaches(&alices).await;
    await_logged(&scene.alice, &alices, "has lost its proof and stops leading to the pod at").await;
    dns.say(name, &[text]);
    await_note(&scene.alice, &alices, true, "Verified at").await;
    await_logged(&scene.alice, &alices, "has its proof again").await;
    dns.say(name, &[]);
    await_note(&scene.alice, &alices, false, "once there is a TXT record").await;
    await_logged(&scene.alice, &alices, "no longer leads to the pod").await;
    visitor.await_page(&domain, "/", 404, "There is no pod here").await;
    scene.visitor.await_page(&own, "/", 200, &format!("I am {alices}")).await;

    // A record that names another pod moves it at once.
    dns.say(name, &[text]);
    await_note(&scene.alice, &alices, true, "Verified at").await;
    reaches(&alices).await;
    dns.say(name, &[rivals_text]);
    await_note(&scene.bob, &bobs, true, "Verified at").await;
    await_note(&scene.alice, &alices, false, "names something else").await;
    reaches(&bobs).await;
    // A stopped pod keeps it, a deleted one does not.
    scene.bob.act(&bobs, "stop").await;
    visitor.await_page(&domain, "/", 503, "is stopped").await;
    scene.bob.delete(&format!("/v3/pods/{bobs}")).await.result();
    visitor.await_page(&domain, "/", 404, "There is no pod here").await;
}

#[tokio::test]
async fn hosts_of_the_platform_are_nobodys() {
    let scene = Scene::new().await;
    let tenant = scene.env.tenant_host();
    let own = |name: &str| format!("{name}{tenant}");
    for domain in
        [own(""), own("www."), own("other.pods."), "shop.pods".to_owned(), "pods.example.org".to_owned()]
    {
        let networking = json!({ "default": { "port": 5000, "custom_domain": domain } });
        let body = json!({ "pod_id": scene.id("greedy"), "image": "busyhttpd", "networking": networking });
        let message = scene.try_create(&scene.alice, body).await.refused(400);
        assert!(message.contains("custom_domain"), "{domain}: {message}");
    }
}
