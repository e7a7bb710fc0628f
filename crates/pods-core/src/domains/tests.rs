use super::*;

const PATIENCE: Patience =
    Patience { recheck: TimeDelta::hours(1), grace: TimeDelta::hours(24), silence: TimeDelta::days(7) };
/// Minutes of a day.
const DAY: i64 = 24 * 60;

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_233_600 + minutes * 60, 0).unwrap()
}

fn uid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn claim(number: u128) -> Claim {
    Claim {
        pod_uid: uid(number),
        domain: "shop.example.org".to_owned(),
        claimed: at(number as i64),
        verified: None,
        failing: None,
        finding: None,
        unanswered: None,
    }
}

fn holder(number: u128) -> Claim {
    Claim { verified: Some(at(50)), finding: Some(Finding::Proven), ..claim(number) }
}

fn names(numbers: &[u128]) -> Answer {
    Answer::Names(numbers.iter().map(|number| uid(*number)).collect())
}

fn one(claim: &Claim, answer: &Answer, now: DateTime<Utc>) -> Verdict {
    let mut verdicts = decide(std::slice::from_ref(claim), answer, false, PATIENCE, now);
    assert_eq!(verdicts.len(), 1);
    verdicts.remove(0)
}

/// Who has the domain afterwards.
fn owner(verdicts: &[Verdict]) -> Option<Uuid> {
    let mut owners = verdicts.iter().filter(|verdict| verdict.after.verified.is_some());
    let owner = owners.next().map(|verdict| verdict.after.pod_uid);
    assert!(owners.next().is_none(), "two pods have the domain");
    owner
}

#[test]
fn the_record_has_a_fixed_form() {
    assert_eq!(record_name("shop.example.org"), "_tapis-pods.shop.example.org");
    assert_eq!(record_text(uid(1)), "pod-uid=00000000-0000-0000-0000-000000000001");
    assert_eq!(record_name(&"a".repeat(DOMAIN_MAX)).len(), 253);
    let texts = [
        "pod-uid=00000000-0000-0000-0000-000000000001",
        " \"pod-uid=00000000-0000-0000-0000-00000000000A\" ",
        "v=spf1 -all",
        "pod-uid=",
        "pod-uid=mine",
        "POD-UID=00000000-0000-0000-0000-000000000002",
    ];
    assert_eq!(Answer::of_texts(texts), names(&[1, 10]));
    let many = (0..200_u128).map(|number| record_text(uid(number)));
    let Answer::Names(read) = Answer::of_texts(many) else { unreachable!() };
    assert_eq!(read.len(), RECORDS_MAX);
}

#[test]
fn names_of_the_platform_are_never_given_away() {
    let hosts = ["tacc.tapis.io", "dev.localhost"];
    for own in ["tacc.tapis.io", "shop.tacc.tapis.io", "a.b.dev.localhost"] {
        assert!(is_reserved(own, hosts), "{own}");
    }
    for foreign in ["mytacc.tapis.io", "tapis.io.example.org", "shop.example.org"] {
        assert!(!is_reserved(foreign, hosts), "{foreign}");
    }
    assert!(!is_reserved("shop.example.org", [""]));
    let verdicts = decide(&[holder(1), claim(2)], &names(&[1, 2]), true, PATIENCE, at(60));
    assert_eq!(owner(&verdicts), None);
    assert!(verdicts.iter().all(|verdict| verdict.after.finding == Some(Finding::Reserved)));
    // Also when DNS is silent.
    assert_eq!(owner(&decide(&[holder(1)], &Answer::Nothing, true, PATIENCE, at(60))), None);
}

#[test]
fn a_domain_is_verified_by_its_record_alone() {
    for (answer, finding) in
        [(names(&[]), Finding::Missing), (names(&[9]), Finding::Other), (names(&[1, 9]), Finding::Proven)]
    {
        let verdict = one(&claim(1), &answer, at(60));
        assert_eq!(verdict.after.finding, Some(finding));
        assert_eq!(verdict.after.verified, (finding == Finding::Proven).then_some(at(60)));
        assert_eq!(verdict.turns(&claim(1)), finding == Finding::Proven);
        let log = verdict.log.unwrap();
        assert!(log.starts_with("Custom domain shop.example.org "), "{log}");
        assert_eq!(log.contains(&record_text(uid(1))), finding != Finding::Proven, "{log}");
    }
}

#[test]
fn users_are_told_once() {
    let told = one(&claim(1), &names(&[]), at(60)).after;
    assert_eq!(one(&told, &names(&[]), at(61)).log, None);
    let silent = one(&told, &Answer::Nothing, at(62));
    assert_eq!((silent.log, silent.after.unanswered), (None, Some(at(62))));
    assert_eq!(one(&silent.after, &Answer::Nothing, at(63)).after.unanswered, Some(at(62)));
    let back = one(&silent.after, &names(&[]), at(64));
    assert_eq!((back.log, back.after.unanswered), (None, None));
    assert!(one(&told, &names(&[9]), at(65)).log.unwrap().contains("names something else"));
    assert!(one(&claim(1), &Answer::Nothing, at(60)).log.unwrap().contains("does not answer"));
}

#[test]
fn silence_takes_nothing_away_for_a_week() {
    let failing = Claim { failing: Some(at(60)), ..holder(1) };
    for claim in [holder(1), failing] {
        let first = one(&claim, &Answer::Nothing, at(30 * DAY));
        assert_eq!((first.after.verified, first.after.failing), (claim.verified, claim.failing));
        assert_eq!((first.next_look, first.log), (at(30 * DAY + 5), None));
        let later = one(&first.after, &Answer::Nothing, at(37 * DAY - 1));
        assert_eq!((later.after.verified, later.after.failing), (claim.verified, claim.failing));
        assert_eq!((later.next_look, later.log), (at(37 * DAY + 59), None));
    }
}

#[test]
fn whoever_rules_a_domain_by_now_does_not_get_its_visitors_by_being_silent() {
    let silent = Claim { unanswered: Some(at(DAY)), ..holder(1) };
    let over = one(&silent, &Answer::Nothing, at(8 * DAY));
    assert_eq!((over.after.verified, over.after.failing), (Some(at(50)), Some(at(8 * DAY))));
    let log = over.log.unwrap();
    assert!(log.contains("stops leading to the pod at 20") && log.contains(&record_text(uid(1))), "{log}");
    assert_eq!(one(&over.after, &Answer::Nothing, at(8 * DAY + 60)).log, None);
    let lost = one(&over.after, &Answer::Nothing, at(9 * DAY));
    assert!(lost.turns(&over.after) && lost.after.failing.is_none());
    assert!(lost.log.unwrap().contains("no longer leads to the pod"));
    assert_eq!(one(&lost.after, &Answer::Nothing, at(9 * DAY + 15)).log, None);

    // An answer in time heals it, and silence begins to count anew.
    let healed = one(&over.after, &names(&[1]), at(8 * DAY + 60)).after;
    assert_eq!((healed.verified, healed.failing, healed.unanswered), (Some(at(50)), None, None));
    assert_eq!(one(&healed, &Answer::Nothing, at(8 * DAY + 120)).after.failing, None);
}

#[test]
fn a_lost_record_is_forgiven_for_a_while() {
    for answer in [names(&[]), names(&[9])] {
        let first = one(&holder(1), &answer, at(100));
        assert_eq!((first.after.verified, first.after.failing), (Some(at(50)), Some(at(100))));
        assert!(first.log.as_deref().unwrap().contains("stops leading to the pod at 20"), "{:?}", first.log);
        let later = one(&first.after, &answer, at(100 + 24 * 60 - 1));
        assert_eq!((later.after.failing, later.log), (Some(at(100)), None));
        let over = one(&later.after, &answer, at(100 + 24 * 60));
        assert_eq!((over.after.verified, over.after.failing), (None, None));
        assert!(over.turns(&later.after) && over.log.unwrap().contains("no longer leads"));

        let healed = one(&later.after, &names(&[1]), at(200));
        assert_eq!((healed.after.verified, healed.after.failing), (Some(at(50)), None));
        assert_eq!(healed.log.as_deref(), Some("Custom domain shop.example.org has its proof again."));
    }
}

#[test]
fn one_pod_has_a_domain() {
    // The first that asked.
    let verdicts = decide(&[claim(3), claim(2)], &names(&[2, 3]), false, PATIENCE, at(60));
    assert_eq!(owner(&verdicts), Some(uid(2)));
    assert_eq!(verdicts[0].after.finding, Some(Finding::Taken));
    // Whoever has it keeps it, however early another asked.
    let verdicts = decide(&[claim(2), holder(3)], &names(&[2, 3]), false, PATIENCE, at(60));
    assert_eq!(owner(&verdicts), Some(uid(3)));
    assert!(verdicts[0].log.as_deref().unwrap().contains("another pod"));
    // Two entries of the future or a record of a pod that does not ask change nothing.
    assert_eq!(owner(&decide(&[holder(3)], &names(&[3, 77]), false, PATIENCE, at(60))), Some(uid(3)));
}

#[test]
fn the_record_moves_a_domain_at_once() {
    let verdicts = decide(&[claim(2), holder(3)], &names(&[2]), false, PATIENCE, at(60));
    let order: Vec<_> =
        verdicts.iter().map(|verdict| (verdict.after.pod_uid, verdict.after.verified)).collect();
    assert_eq!(order, [(uid(3), None), (uid(2), Some(at(60)))], "the loser is stored first");
    assert!(verdicts[0].log.as_deref().unwrap().contains("names another pod"));
    // A missing record leaves it where it is, and a second one that waits gets nothing.
    let verdicts = decide(&[claim(2), holder(3)], &names(&[]), false, PATIENCE, at(60));
    assert_eq!(owner(&verdicts), Some(uid(3)));
}

#[test]
fn looks_become_rare() {
    let wait = |minutes| one(&claim(0), &names(&[]), at(minutes)).next_look - at(minutes);
    assert_eq!(wait(0), TimeDelta::seconds(5));
    assert_eq!(wait(8), TimeDelta::minutes(1));
    assert_eq!(wait(60 * 24 * 365), TimeDelta::minutes(15));
    let proven = one(&holder(1), &names(&[1]), at(60));
    assert_eq!((proven.next_look, proven.log), (at(120), None));
    assert_eq!(one(&holder(1), &names(&[]), at(60)).next_look, at(65));
    // Nobody answers: that is no reason to ask again soon, however young the wish.
    let silent = |minutes: i64| Claim { unanswered: Some(at(100 - minutes)), ..claim(99) };
    for (minutes, wait) in [(0, 5), (10, 300), (60, 900)] {
        let verdict = one(&silent(minutes), &Answer::Nothing, at(100));
        assert_eq!(verdict.next_look - at(100), TimeDelta::seconds(wait), "silent for {minutes} minutes");
    }
    let hasty = Patience { recheck: TimeDelta::seconds(1), ..PATIENCE };
    let verdict = decide(&[holder(1)], &names(&[]), false, hasty, at(60)).remove(0);
    assert_eq!(verdict.next_look, at(60) + TimeDelta::seconds(1));
}

#[test]
fn users_are_told_what_to_do() {
    let all =
        [None, Some(Finding::Missing), Some(Finding::Other), Some(Finding::Taken), Some(Finding::Reserved)];
    for finding in all {
        for unanswered in [None, Some(at(70))] {
            let note = Note::of(&Claim { finding, unanswered, ..claim(1) });
            let cures = !matches!(finding, Some(Finding::Taken | Finding::Reserved));
            assert_eq!(note.message.contains("_tapis-pods.shop.example.org with the text pod-uid="), cures);
            assert_eq!(note.message.contains("has not answered"), unanswered.is_some(), "{}", note.message);
            assert!(!note.verified && !note.settled && note.message.ends_with('.'));
        }
    }
    let good = Note::of(&holder(1));
    assert!(good.verified && good.settled && good.message.starts_with("Verified at 20"), "{}", good.message);
    let failing = Note::of(&Claim { failing: Some(at(60)), ..holder(1) });
    assert!(failing.verified && !failing.settled && failing.message.contains(&failing.record_text));
}
