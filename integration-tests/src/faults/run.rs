//! Runs faults and reports what `explain` made of them.

use std::{
    fmt::Write as _,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, stream};
use serde_json::Value;

use super::{
    inject::Stage,
    table::{Fault, remarks},
};

/// How soon after Kubernetes the cause must be named.
pub const WITHIN: Duration = Duration::from_secs(5);
/// How long a cause that was not named in time is still waited for, so that the report says how late it was.
const PATIENCE: Duration = Duration::from_secs(25);
const HEALING: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(100);
/// Faults of one pod each that are brought about at once.
const AT_ONCE: usize = 6;

/// What became of a fault.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The fault.
    pub id: String,
    /// From its injection until Kubernetes knew.
    pub known: Option<Duration>,
    /// From then until `explain` named the cause.
    pub named: Option<Duration>,
    /// What was wrong.
    pub complaint: Option<String>,
    /// What no answer should have, however right it is.
    pub remarks: Vec<String>,
}

impl Outcome {
    /// Whether the cause was named in time, in all that is expected of the answer.
    pub fn good(&self) -> bool {
        self.complaint.is_none() && self.named.is_some_and(|time| time <= WITHIN)
    }
}

/// Runs faults that concern one pod each, several at once; each line is said as soon as it is known.
pub async fn side_by_side(stage: &Stage, faults: &[Fault], say: fn(&str)) -> Vec<Outcome> {
    stream::iter(faults).map(|fault| one(stage, fault, say)).buffer_unordered(AT_ONCE).collect().await
}

/// Runs faults that concern everybody, one after the other.
pub async fn in_turn(stage: &Stage, faults: &[Fault], say: fn(&str)) -> Vec<Outcome> {
    stream::iter(faults).then(|fault| one(stage, fault, say)).collect().await
}

async fn one(stage: &Stage, fault: &Fault, say: fn(&str)) -> Outcome {
    let id = stage.scene.id(&fault.id.replace('_', ""));
    let begun = AssertUnwindSafe(stage.bring_about(fault, &id)).catch_unwind().await;
    let outcome = match begun {
        Err(panic) => Outcome {
            id: fault.id.clone(),
            known: None,
            named: None,
            complaint: Some(format!("could not be brought about: {}", said(panic.as_ref()))),
            remarks: Vec::new(),
        },
        Ok(injected) => {
            let looked = AssertUnwindSafe(look(stage, fault, &id, injected.at)).catch_unwind().await;
            stage.take_back(injected).await;
            let mut outcome = looked.unwrap_or_else(|panic| Outcome {
                id: fault.id.clone(),
                known: None,
                named: None,
                complaint: Some(said(panic.as_ref())),
                remarks: Vec::new(),
            });
            if fault.heals && outcome.complaint.is_none() && !healed(stage, &id).await {
                outcome.complaint = Some("the pod does not run although the fault is over".to_owned());
            }
            outcome
        }
    };
    stage.scene.alice.delete(&format!("/v3/pods/{id}")).await;
    say(&line(&outcome));
    outcome
}

async fn look(stage: &Stage, fault: &Fault, id: &str, injected: Instant) -> Outcome {
    let limit = Duration::from_secs(fault.limit_seconds);
    let (mut known, mut named) = (None, None);
    let mut last: Result<(), String> = Err("nothing was asked".to_owned());
    let mut answer = Value::Null;
    loop {
        known = known.or_else(|| stage.watch.known_since(id, &fault.known, injected));
        if named.is_none() {
            answer = explain(stage, id).await;
            last = fault.expect.judge(&answer);
            named = last.is_ok().then(Instant::now);
        }
        let over = match (known, named) {
            (Some(_), Some(_)) => true,
            (Some(known), None) => known.elapsed() > WITHIN + PATIENCE,
            // Named, and the watch has a moment to see it too.
            (None, Some(named)) => named.elapsed() > WITHIN,
            (None, None) => injected.elapsed() > limit,
        };
        if over {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let complaint = match (known, last) {
        (_, Err(why)) => Some(format!("{why}\n    {answer}")),
        (None, Ok(())) => Some(format!("Kubernetes never knew\n    {answer}")),
        (Some(_), Ok(())) => None,
    };
    Outcome {
        id: fault.id.clone(),
        known: known.map(|at| at - injected),
        named: known.zip(named).map(|(known, named)| named.saturating_duration_since(known)),
        complaint,
        remarks: remarks(&answer, id).into_iter().map(|remark| format!("{}: {remark}", fault.id)).collect(),
    }
}

/// What a user gets; nothing while there is no answer.
async fn explain(stage: &Stage, id: &str) -> Value {
    let answer = stage.scene.alice.get(&format!("/v3/pods/{id}/explain")).await;
    if answer.code == 200 { answer.body["result"].clone() } else { answer.body }
}

async fn healed(stage: &Stage, id: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < HEALING {
        if stage.scene.alice.pod(id).await["status"] == "AVAILABLE" {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}

fn line(outcome: &Outcome) -> String {
    let seconds =
        |time: Option<Duration>| time.map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
    let verdict = if outcome.good() { "ok  " } else { "MISS" };
    let mut complaint = outcome.complaint.as_ref().map_or(String::new(), |why| format!(" {why}"));
    for remark in &outcome.remarks {
        let _ = write!(complaint, "\n     note: {remark}");
    }
    format!(
        "{verdict} {:32} known after {:>8}, named after {:>8}{complaint}",
        outcome.id,
        seconds(outcome.known),
        seconds(outcome.named)
    )
}

/// The report, and how many causes were not named in time.
pub fn report(outcomes: &[Outcome]) -> (String, usize) {
    let mut text = String::new();
    for outcome in outcomes {
        let _ = writeln!(text, "{}", line(outcome));
    }
    let mut times: Vec<Duration> = outcomes.iter().filter_map(|outcome| outcome.named).collect();
    times.sort();
    let good = outcomes.iter().filter(|outcome| outcome.good()).count();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let _ = write!(
        text,
        "{good} of {} named within {} s of Kubernetes knowing: p50 {:.2} s, max {:.2} s",
        outcomes.len(),
        WITHIN.as_secs(),
        median.as_secs_f64(),
        times.last().copied().unwrap_or_default().as_secs_f64()
    );
    (text, outcomes.len() - good)
}
