use std::{collections::BTreeMap, fmt::Write, sync::LazyLock};

use super::*;
use crate::{
    Networking, Protocol,
    domains::{Claim, Finding},
    networking,
    phases::Phase,
};

const OWNER: Rights = Rights { update: true, run: true };
const READER: Rights = Rights { update: false, run: false };

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_233_600 + seconds, 0).unwrap()
}

fn facts(status: Status, said: &StatusContainer) -> Facts<'_> {
    Facts {
        pod_id: "web",
        status,
        requested: StatusRequested::On,
        status_since: at(-1),
        said,
        rights: OWNER,
        image: "acme/web:2",
        template: None,
        image_of_template: false,
        network: network(Some(routed()), &[]),
        phases: Phases::at(Phase::Accepted, at(-1)),
        last_end: None,
        last_loss: None,
        losses: 0,
        not_before: None,
        deadline: None,
        unpublished_since: None,
        predecessors: 0,
        observed: true,
        now: at(0),
    }
}

fn network<'a>(entries: Option<&'a BTreeMap<String, Networking>>, claims: &'a [Claim]) -> Network<'a> {
    Network { k8_name: "pods-tacc-dev-web", tenant_host: "dev.example.org", entries, claims }
}

/// The networking of a pod that names none.
fn routed() -> &'static BTreeMap<String, Networking> {
    static ENTRIES: LazyLock<BTreeMap<String, Networking>> = LazyLock::new(|| {
        let mut entries = networking::default_entries();
        entries.get_mut("default").unwrap().url = "web.pods.dev.example.org".to_owned();
        entries
    });
    &ENTRIES
}

fn said(code: Reason) -> StatusContainer {
    StatusContainer { code: Some(code), ..StatusContainer::default() }
}

#[test]
fn every_status_and_reason_has_a_sensible_answer() {
    let mut table = String::new();
    for status in Status::ALL {
        for code in [None].into_iter().chain(Reason::ALL.iter().copied().map(Some)) {
            let said = code.map(said).unwrap_or_default();
            let answer = explain(&facts(*status, &said));
            assert!(answer.message.ends_with('.') && answer.message.len() > 15, "{status} {code:?}");
            let busy = Status::IN_PROGRESS.contains(status);
            assert!(!busy || answer.waiting_for.is_some(), "{status} {code:?} waits for something");
            assert!(
                answer.who_can_act != Who::You || answer.next_call.is_some(),
                "{status} {code:?} tells what to do"
            );
            if matches!(status, Status::Stopped | Status::Complete | Status::Error) {
                assert!(
                    answer.who_can_act != Who::Nobody && answer.waiting_for.is_none(),
                    "{status} {code:?}"
                );
            }
            let call = answer
                .next_call
                .map_or("-".to_owned(), |call| format!("{} {} {}", call.method, call.path, call.why));
            let waiting = answer.waiting_for.unwrap_or_else(|| "-".to_owned());
            let code = code.map_or("(nothing)", Reason::as_str);
            writeln!(
                table,
                "{status} {code}: {} | {} | waits for: {waiting} | {call}",
                answer.code, answer.who_can_act
            )
            .unwrap();

            let reader = explain(&Facts { rights: READER, ..facts(*status, &said) });
            assert_ne!(reader.who_can_act, Who::You, "READ changes nothing");
            assert!(reader.next_call.is_none_or(|call| call.path.ends_with("/logs")));
        }
    }
    insta::assert_snapshot!("table", table);
}

#[test]
fn the_service_s_own_parts_are_told_apart() {
    let nothing = StatusContainer::default();
    let queued = facts(Status::Requested, &nothing);
    let code = |facts: Facts<'_>| explain(&facts).code;
    assert_eq!(code(queued.clone()), Reason::Queued);
    let waiting = |seconds: i64| Facts {
        status_since: at(-seconds),
        phases: Phases::at(Phase::Accepted, at(-seconds)),
        ..queued.clone()
    };
    assert_eq!(code(waiting(2)), Reason::Queued);
    assert_eq!(code(waiting(4)), Reason::NoSpawner);
    let unsent = Facts { unpublished_since: Some(at(-3)), ..waiting(4) };
    assert_eq!(
        (code(unsent.clone()), explain(&unsent).who_can_act),
        (Reason::BrokerUnreachable, Who::Operator)
    );
    assert_eq!(code(Facts { unpublished_since: Some(at(-1)), ..waiting(2) }), Reason::Queued);
    assert_eq!(code(Facts { predecessors: 1, ..waiting(60) }), Reason::NameTaken);

    let starting = said(Reason::Starting);
    let unseen = Facts { observed: false, ..facts(Status::Spawning, &starting) };
    assert_eq!(code(unseen), Reason::NoObserver);
    for status in [Status::ShuttingDown, Status::Restarting] {
        let unsent = Facts { unpublished_since: Some(at(-3)), ..facts(status, &nothing) };
        assert_eq!(code(unsent), Reason::BrokerUnreachable);
        let overdue = Facts { status_since: at(-600), ..facts(status, &nothing) };
        assert_eq!(explain(&overdue).who_can_act, Who::Operator);
    }
}

#[test]
fn a_lost_pod_tells_when_it_starts_again_and_why_it_must() {
    let lost = StatusContainer::because(Reason::NodeLost, "The node n stopped answering.");
    let waits = Facts { not_before: Some(at(4)), losses: 3, ..facts(Status::Requested, &lost) };
    let answer = explain(&waits);
    assert_eq!((answer.code, answer.who_can_act), (Reason::NodeLost, Who::Nobody));
    assert_eq!(answer.waiting_for.as_deref(), Some("the next attempt at 04:00:04 UTC"));
    assert!(answer.hints[0].contains("3 times"));
    // Once its turn has come somebody has to take it, however long ago it was accepted.
    let accepted = Phases::at(Phase::Accepted, at(-12));
    let late = Facts { not_before: Some(at(-10)), status_since: at(-12), phases: accepted, ..waits };
    assert_eq!(explain(&late).code, Reason::NoSpawner);
}

#[test]
fn a_run_whose_time_has_passed_is_about_to_be_stopped() {
    let running = StatusContainer::because(Reason::Running, "The container runs.");
    let run = |deadline| explain(&Facts { deadline, ..facts(Status::Available, &running) });
    let over = run(Some(at(0)));
    assert_eq!((over.code, over.who_can_act, over.next_call), (Reason::Expired, Who::Nobody, None));
    assert_eq!(run(Some(at(1))).code, Reason::Running);
    assert_eq!(run(None).code, Reason::Running);
}

#[test]
fn a_stopped_pod_remembers_why() {
    let nothing = StatusContainer::default();
    let stopped = facts(Status::Stopped, &nothing);
    assert_eq!(explain(&stopped).message, "The pod has not been started.");
    let end = |code, message: &str| Some(Past { at: at(-60), code: Some(code), message: message.to_owned() });
    let expired =
        explain(&Facts { last_end: end(Reason::Expired, "The time to stop has passed."), ..stopped.clone() });
    assert_eq!((expired.code, expired.who_can_act), (Reason::Expired, Who::You));
    assert!(
        expired.message.contains("time to stop") && expired.next_call.unwrap().path == "/v3/pods/web/start"
    );
    let failed = explain(&Facts { last_end: end(Reason::ExitCode, "Exit code 3."), ..stopped });
    assert!(failed.code == Reason::Stopped && failed.message.contains("Exit code 3."));
}

#[test]
fn images_and_templates_are_named() {
    let missing = StatusContainer::because(Reason::ImageNotFound, "The registry has no such image.");
    let from_template =
        Facts { template: Some("web:1@t"), image_of_template: true, ..facts(Status::Error, &missing) };
    let message = explain(&from_template).message;
    assert!(message.contains("acme/web:2") && message.contains("template \"web:1@t\""), "{message}");
    let quoted = StatusContainer::because(Reason::ImageNotFound, "acme/web:2: not found");
    assert_eq!(explain(&facts(Status::Error, &quoted)).message, "acme/web:2: not found");
    let gone = said(Reason::TemplateUnavailable);
    let gone = explain(&Facts { template: Some("web:1@t"), ..facts(Status::Error, &gone) });
    assert!(gone.message.contains("web:1@t"));
}

#[test]
fn who_can_act_may_depend_on_more_than_the_code() {
    let no_nodes = said(Reason::Unschedulable).for_the(Some(Actor::Operator));
    assert_eq!(explain(&facts(Status::Spawning, &no_nodes)).who_can_act, Who::Operator);
    let no_cpu = said(Reason::Unschedulable);
    assert_eq!(explain(&facts(Status::Spawning, &no_cpu)).who_can_act, Who::You);
    let reader = Facts { rights: READER, ..facts(Status::Spawning, &no_cpu) };
    assert_eq!((explain(&reader).who_can_act, explain(&reader).next_call), (Who::Owner, None));
    let user = Facts { rights: Rights { update: true, run: false }, ..facts(Status::Spawning, &no_cpu) };
    let answer = explain(&user);
    assert_eq!(answer.who_can_act, Who::Owner);
    assert!(answer.next_call.unwrap().why.contains("needs ADMIN"));
}

#[test]
fn a_run_tells_what_is_worth_knowing() {
    let runs = StatusContainer::because(Reason::Running, "The container runs.");
    let mut phases = Phases::at(Phase::Accepted, at(-100));
    phases.note(Phase::Started, Some(at(-60)));
    let run = Facts { phases, deadline: Some(at(60)), ..facts(Status::Available, &runs) };
    let answer = explain(&run);
    assert_eq!((answer.code, answer.who_can_act, answer.next_call), (Reason::Running, Who::Nobody, None));
    assert_eq!(answer.hints.len(), 2, "{:?}", answer.hints);
    assert_eq!(answer.last_progress, at(-1));
    let routed =
        Facts { phases: phases.or(&Phases::at(Phase::Routed, at(-58))), deadline: Some(at(36_000)), ..run };
    assert!(explain(&routed).hints.is_empty());
}

#[test]
fn each_entry_says_how_it_is_reached() {
    let nothing = StatusContainer::default();
    let tcp = Networking {
        protocol: Protocol::Tcp,
        port: 7687,
        url: "web-bolt.pods.dev.example.org".to_owned(),
        ..Networking::default()
    };
    let local = Networking { protocol: Protocol::LocalOnly, ..Networking::default() };
    let wrong = Networking { url: "nowhere".to_owned(), ..Networking::default() };
    let mut entries = routed().clone();
    entries.extend([("bolt".to_owned(), tcp), ("inner".to_owned(), local), ("wrong".to_owned(), wrong)]);
    let mut table = String::new();
    let not_ready = StatusContainer { ready: Some(false), ..StatusContainer::default() };
    for (status, said) in [
        (Status::Available, &nothing),
        (Status::Available, &not_ready),
        (Status::Spawning, &nothing),
        (Status::Error, &nothing),
    ] {
        let answer = explain(&Facts { network: network(Some(&entries), &[]), ..facts(status, said) });
        for entry in &answer.networking {
            let EntryNote { name, protocol, url, live, message, .. } = entry;
            writeln!(table, "{status} {name} {protocol} {url:?} live: {live} | {message}").unwrap();
        }
        let about_wrong = |hint: &&String| hint.contains("\"wrong\"");
        assert_eq!(answer.hints.iter().filter(about_wrong).count(), 1, "{:?}", answer.hints);
    }
    insta::assert_snapshot!("networking", table);
    let answer = explain(&Facts { network: network(None, &[]), ..facts(Status::Available, &nothing) });
    assert!(answer.networking.is_empty() && answer.hints.iter().any(|hint| hint.contains("template")));
}

#[test]
fn a_custom_domain_says_what_it_waits_for() {
    let nothing = StatusContainer::default();
    let mut entries = routed().clone();
    entries.get_mut("default").unwrap().custom_domain = "shop.example.org".to_owned();
    let waiting = Claim {
        pod_uid: uuid::Uuid::nil(),
        domain: "shop.example.org".to_owned(),
        claimed: at(-60),
        verified: None,
        failing: None,
        finding: Some(Finding::Missing),
        unanswered: None,
    };
    let ask = |claims: &[Claim]| {
        let network = network(Some(&entries), claims);
        let answer = explain(&Facts { network, ..facts(Status::Available, &nothing) });
        (answer.networking[0].custom_domain.clone(), answer.hints)
    };
    let (note, hints) = ask(&[]);
    assert!(note.is_none() && hints.is_empty(), "its row comes with the pod's");
    let (note, hints) = ask(std::slice::from_ref(&waiting));
    assert_eq!(note.unwrap().record_name, "_tapis-pods.shop.example.org");
    assert!(hints[0].starts_with("Custom domain shop.example.org: ") && hints[0].contains("pod-uid="));
    let proven = Claim { verified: Some(at(-5)), finding: Some(Finding::Proven), ..waiting };
    let (note, hints) = ask(&[proven]);
    assert!(note.unwrap().verified && hints.is_empty());
}

#[test]
fn a_proven_domain_that_leads_nowhere_says_why() {
    let nothing = StatusContainer::default();
    // As an older version of the service might have stored it.
    let mut entries = routed().clone();
    let entry = entries.get_mut("default").unwrap();
    entry.custom_domain = "shop.dev.example.org".to_owned();
    entry.custom_domain_verified = true;
    let claim = Claim {
        pod_uid: uuid::Uuid::nil(),
        domain: "shop.dev.example.org".to_owned(),
        claimed: at(-60),
        verified: Some(at(-50)),
        failing: None,
        finding: Some(Finding::Proven),
        unanswered: None,
    };
    let claims = [claim];
    let facts = Facts { network: network(Some(&entries), &claims), ..facts(Status::Available, &nothing) };
    let answer = explain(&facts);
    let note = answer.networking[0].custom_domain.clone().unwrap();
    assert!(note.message.starts_with("It leads nowhere: custom_domain") && !note.settled, "{note:?}");
    assert!(
        answer.hints.iter().any(|hint| hint.contains("shop.dev.example.org: It leads")),
        "{:?}",
        answer.hints
    );
    assert!(answer.networking[0].live, "its own host is not touched by that");
}

#[test]
fn that_nothing_is_confirmed_is_said_of_pods_with_visitors_only() {
    let nothing = StatusContainer::default();
    let phases = Phases::at(Phase::Started, at(-60));
    let hints = |entries: &BTreeMap<String, Networking>| {
        let network = network(Some(entries), &[]);
        explain(&Facts { network, phases, ..facts(Status::Available, &nothing) }).hints
    };
    assert!(hints(routed()).iter().any(|hint| hint.contains("not confirmed")));
    let local = Networking { protocol: Protocol::LocalOnly, ..Networking::default() };
    assert_eq!(hints(&[("default".to_owned(), local)].into()), Vec::<String>::new());
    assert_eq!(hints(&BTreeMap::new()), Vec::<String>::new());
}
