//! Percentiles, and figures beside their targets.

/// The value below which `percent` of the values lie (nearest rank).
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil();
    sorted.get((rank as usize).saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Prints a figure beside its target and answers whether it is met.
pub fn judge(what: &str, figure: f64, target: f64, unit: &str) -> bool {
    let met = figure <= target;
    let verdict = if met { "met" } else { "MISSED" };
    println!("  {what}: {figure:.3} {unit} (target {target} {unit}: {verdict})");
    met
}

/// The median of several rounds with the least and the most of them.
pub fn spread(rounds: &[f64], unit: &str) -> String {
    let at = |percent| percentile(rounds, percent);
    format!("median {:.3} {unit} ({:.3} to {:.3}, {} rounds)", at(50.0), at(0.0), at(100.0), rounds.len())
}

/// Prints the median of several rounds beside its target and answers whether it is met.
pub fn judge_rounds(what: &str, rounds: &[f64], target: f64, unit: &str) -> bool {
    let met = percentile(rounds, 50.0) <= target;
    let verdict = if met { "met" } else { "MISSED" };
    println!("  {what}: {} (target {target} {unit}: {verdict})", spread(rounds, unit));
    met
}
