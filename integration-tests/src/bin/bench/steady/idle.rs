//! Pods that run and do nothing.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serde_json::Value;

use super::{
    fill::fill,
    stage::{MEASURED, Stage},
};
use crate::{numbers::judge, service};

/// Target for health and spawner together, in percent of one core.
const CPU_TARGET: f64 = 2.0;
/// What is renewed as long as a replica lives.
const RENEWED: &[&str] = &["leases"];

/// Runs the bench; answers whether its targets are met.
pub async fn run(pods: usize, minutes: f64) -> Result<bool> {
    let stage = Stage::new().await?;
    println!("steady state: {pods} pods that run, {minutes} minutes");
    fill(&stage, pods).await?;
    // What follows a start, such as the first full look, is over.
    tokio::time::sleep(Duration::from_secs(10)).await;

    let seconds = minutes * 60.0;
    let (rows, cpu, asked) = (writes(&stage).await?, stage.cpu()?, stage.kubernetes().await?);
    let sums = sums(&stage).await?;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let (rows_after, cpu_after, asked_after) =
        (writes(&stage).await?, stage.cpu()?, stage.kubernetes().await?);

    println!("CPU, in percent of one core");
    let mut total = 0.0;
    for (name, before) in &cpu {
        let percent = (cpu_after.get(name).unwrap_or(before) - before) / seconds * 100.0;
        let resident = service::resident_kib(service::pid(&stage.env, name)?)? as f64 / 1024.0;
        println!("  {name:<16} {percent:>6.2} %   {resident:>6.1} MiB resident");
        if MEASURED.contains(&name.as_str()) {
            total += percent;
        }
    }
    let mut met = judge("health and spawner together", total, CPU_TARGET, "% of a core");
    println!("requests to Kubernetes: {}", difference(&asked["requests"], &asked_after["requests"]));
    println!("rows written (inserted, updated, deleted)");
    let mut unexpected = 0;
    for (table, after) in &rows_after {
        let before = rows.get(table).copied().unwrap_or_default();
        let written: Vec<i64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        if written.iter().any(|count| *count != 0) {
            println!("  {table:<20} {written:?}");
            if !RENEWED.contains(&table.as_str()) {
                unexpected += written.iter().sum::<i64>();
            }
        }
    }
    met &= judge("rows written although nothing changed", unexpected as f64, 0.0, "rows");
    let untouched = sums == self::sums(&stage).await?;
    met &= judge("rows of pods that are not what they were", f64::from(u8::from(!untouched)), 0.0, "");
    stage.finish().await?;
    Ok(met)
}

/// Inserted, updated and deleted rows of each table.
async fn writes(stage: &Stage) -> Result<BTreeMap<String, [i64; 3]>> {
    // A session reports what it counted when it comes to rest, at the latest after a second or so.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let sql = "SELECT relname::text, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables";
    stage.db.batch_execute("SELECT pg_stat_clear_snapshot()").await?;
    let rows = stage.db.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), [row.get(1), row.get(2), row.get(3)])).collect())
}

/// A figure that changes with every write to a pod or a start: the transaction that wrote each row is part of it.
async fn sums(stage: &Stage) -> Result<Vec<i64>> {
    let mut sums = Vec::new();
    for table in ["pods", "pod_instances"] {
        let sql = format!(
            "SELECT coalesce(sum(hashtextextended(xmin::text || t::text, 0)::numeric), 0)::text FROM {table} AS t"
        );
        let row = stage.db.query_one(&sql, &[]).await?;
        let text: String = row.get(0);
        sums.push(text.bytes().fold(0_i64, |sum, byte| sum.wrapping_mul(31).wrapping_add(i64::from(byte))));
    }
    Ok(sums)
}

fn difference(before: &Value, after: &Value) -> String {
    let counts = after.as_object().into_iter().flatten().filter_map(|(what, count)| {
        let more = count.as_u64()? - before[what].as_u64().unwrap_or_default();
        (more > 0).then(|| format!("{what} {more}"))
    });
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}
