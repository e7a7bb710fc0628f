//! The run: set up, users and faults side by side, bringing everything back, waiting, judging, cleaning up.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use futures::{StreamExt, future, stream};
use integration_tests::{Env, api::Caller, cluster::Cluster, env::TokenWish, wakeups::WakeUps};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    Options,
    bystanders::Bystanders,
    doubles::Doubles,
    driver::{Driver, Stage},
    injector::{self, Cutter, Faults},
    judge::{Rules, judge},
    messages,
    report::Counts,
    script::Script,
    snapshot::{self, Snapshot},
};

/// How long after Kubernetes has nothing to do any more everything must be as it was asked for.
const CONVERGE_LIMIT: Duration = Duration::from_secs(60);
/// How long Kubernetes itself may take to work off what it was asked to do.
const KUBERNETES_LIMIT: Duration = Duration::from_secs(900);
/// How long everything must stay as it is then.
const STABLE_FOR: Duration = Duration::from_secs(5);
/// Reads and deletions at once, at the end.
const AT_ONCE: usize = 16;
const TOKEN_SECONDS: i64 = 6 * 3600;

/// What was found in the end.
struct Verdict {
    after_faults: Duration,
    after_quiet: Duration,
    problems: Vec<(String, String)>,
}

/// Carries it out; `false` when something is wrong.
pub async fn run(options: Options) -> Result<bool> {
    let env = Env::load();
    let scripted = options.scripted.is_some();
    let pods = options.pods.unwrap_or(if scripted { 2000 } else { 60 });
    let rate = options.rate.unwrap_or(if scripted { 25.0 } else { 1.5 });
    let seed = options.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::from(now.subsec_nanos()))
    });
    let run: String = uuid::Uuid::new_v4().simple().to_string().chars().take(6).collect();
    println!("chaos: {pods} pods for {} minutes, --seed {seed} (run {run})", options.minutes);
    let cluster = Cluster::connect(&env).await;
    let client = &cluster.client;
    let people = people(&env);
    let bystanders = Bystanders::make(&env, client, people[0].clone(), &run).await?;
    let doubles = Doubles::watch(cluster.pods.clone());

    let begun = Instant::now();
    let (end, over) = watch::channel(false);
    let stage = Arc::new(Stage { begun, over: over.clone(), counts: Counts::default(), scripted });
    let faults = Arc::new(Faults {
        env: env.clone(),
        begun,
        over,
        counts: Counts::default(),
        cutter: match (&options.gate, &options.scripted) {
            (_, Some(url)) => Cutter::Scripted(url.clone()),
            (Some(gate), None) => Cutter::Gate(gate.clone()),
            (None, None) => Cutter::Nothing,
        },
    });
    let prefix = format!("cx{run}");
    let mean_pause = Duration::from_secs_f64(pods as f64 / rate);
    let mut drivers = JoinSet::new();
    for number in 0..pods {
        let owner = people[number % people.len()].clone();
        let partner = people[(number + 1) % people.len()].clone();
        let driver = Driver::new(Arc::clone(&stage), format!("{prefix}x{number}"), owner, partner);
        drivers.spawn(driver.run(Script::new(seed, number, mean_pause)));
    }
    let mut lanes = JoinSet::new();
    if !options.calm {
        lanes.spawn(injector::processes(Arc::clone(&faults), seed, 0));
        lanes.spawn(injector::processes(Arc::clone(&faults), seed, 1));
        lanes.spawn(injector::shared(Arc::clone(&faults), seed));
        lanes.spawn(injector::streams(Arc::clone(&faults), seed));
        let wake_ups = WakeUps::connect(&env).await;
        lanes.spawn(messages::duplicate(Arc::clone(&faults), wake_ups, prefix.clone(), seed));
    }
    sleep(Duration::from_secs_f64(options.minutes * 60.0)).await;
    let _nobody = end.send(true);
    println!("{:8.1} s  no more faults; everything is brought back", begun.elapsed().as_secs_f64());
    while lanes.join_next().await.is_some() {}
    let (back, cutter) = (env.clone(), faults.cutter.clone());
    let missing = tokio::task::spawn_blocking(move || injector::all_back(&back, &cutter)).await?;
    let faults_over = Instant::now();
    let mut drivers: Vec<Driver> = drivers.join_all().await;
    stream::iter(&mut drivers).for_each_concurrent(AT_ONCE, Driver::settle).await;

    let rules = Rules { policies: bystanders.policies };
    let verdict = converge(&env, client, &prefix, &drivers, rules, faults_over).await?;
    let mut general: Vec<String> = missing.iter().map(|name| format!("{name} does not run again")).collect();
    general.extend(doubles.found());
    general.extend(bystanders.harm(&env, client, !scripted).await?);
    let well = tell(&stage, &faults, &drivers, &verdict, &general, seed).await;
    if !options.keep {
        stream::iter(&drivers).for_each_concurrent(AT_ONCE, clean_up).await;
        bystanders.remove(client, &env.namespace).await;
    }
    Ok(well)
}

async fn clean_up(driver: &Driver) {
    while !timeout(Duration::from_secs(40), driver.remove()).await.unwrap_or(false) {
        sleep(Duration::from_secs(1)).await;
    }
}

/// The users.
fn people(env: &Env) -> Vec<Caller> {
    let person = |name: &str| {
        let wish = TokenWish { user: name, ttl: Some(TOKEN_SECONDS), ..TokenWish::default() };
        Caller::new(name, &env.base_url, env.token(wish))
    };
    ["alice", "bob", "carol", "dave"].map(person).to_vec()
}

/// Waits until every pod is as it was asked for and stays so, or until it took too long.
async fn converge(
    env: &Env,
    client: &kube::Client,
    prefix: &str,
    drivers: &[Driver],
    rules: Rules,
    faults_over: Instant,
) -> Result<Verdict> {
    let mut quiet_since: Option<Instant> = None;
    let mut well_since: Option<Instant> = None;
    loop {
        let found = snapshot::take(env, client, prefix).await.context("when everything runs again")?;
        let now = Instant::now();
        quiet_since = if found.is_busy() { None } else { quiet_since.or(Some(now)) };
        let problems = all_problems(drivers, &found, rules);
        well_since = if problems.is_empty() { well_since.or(Some(now)) } else { None };
        let quiet_for = quiet_since.map_or(Duration::ZERO, |since| now - since);
        let late = quiet_for > CONVERGE_LIMIT && well_since.is_none();
        let stable = well_since.is_some_and(|since| now - since >= STABLE_FOR);
        if late || stable || faults_over.elapsed() > KUBERNETES_LIMIT {
            let well_at = well_since.unwrap_or(now);
            return Ok(Verdict {
                after_faults: well_at.saturating_duration_since(faults_over),
                after_quiet: quiet_since
                    .map_or(Duration::ZERO, |quiet| well_at.saturating_duration_since(quiet)),
                problems,
            });
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn all_problems(drivers: &[Driver], found: &Snapshot, rules: Rules) -> Vec<(String, String)> {
    let of = |driver: &Driver| {
        let problems = judge(&driver.pod_id, &driver.model, found, rules);
        problems.into_iter().map(|problem| (driver.pod_id.clone(), problem)).collect::<Vec<_>>()
    };
    drivers.iter().flat_map(of).collect()
}

/// Prints the report; `true` when all is well.
async fn tell(
    stage: &Stage,
    faults: &Faults,
    drivers: &[Driver],
    verdict: &Verdict,
    general: &[String],
    seed: u64,
) -> bool {
    println!("\nrequests ({})", stage.counts.total());
    stage.counts.lines().iter().for_each(|line| println!("{line}"));
    println!("faults ({})", faults.counts.total());
    faults.counts.lines().iter().for_each(|line| println!("{line}"));
    println!(
        "everything as asked for {:.1} s after the last fault was over, {:.1} s after Kubernetes had nothing to do \
         (limit {} s)",
        verdict.after_faults.as_secs_f64(),
        verdict.after_quiet.as_secs_f64(),
        CONVERGE_LIMIT.as_secs()
    );
    let mut problems: Vec<(String, String)> = verdict.problems.clone();
    problems.extend(drivers.iter().flat_map(|driver| {
        driver.violations.iter().map(|violation| (driver.pod_id.clone(), violation.clone()))
    }));
    let bad: Vec<&Driver> =
        drivers.iter().filter(|driver| problems.iter().any(|(id, _)| *id == driver.pod_id)).collect();
    let logs = future::join_all(bad.iter().take(10).map(|driver| driver.action_log())).await;
    for (driver, log) in bad.iter().zip(logs) {
        println!("\n{}", driver.pod_id);
        for (_, problem) in problems.iter().filter(|(id, _)| *id == driver.pod_id) {
            println!("  VIOLATION {problem}");
        }
        driver.history().iter().for_each(|line| println!("  {line}"));
        log.iter().for_each(|line| println!("  action log: {line}"));
    }
    general.iter().for_each(|problem| println!("VIOLATION {problem}"));
    let count = problems.len() + general.len();
    println!("chaos: {} pods, {count} violations, --seed {seed}", drivers.len());
    count == 0
}
