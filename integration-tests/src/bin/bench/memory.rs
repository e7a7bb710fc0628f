//! Resident memory at idle.

use anyhow::Result;
use integration_tests::Env;

use crate::{numbers::judge, service};

/// Target for each process, in MiB.
const TARGET: f64 = 40.0;

/// Prints the resident memory of each process of the product.
pub fn run() -> Result<bool> {
    let env = Env::load();
    println!("resident memory");
    let mut met = true;
    for name in ["pods-api", "pods-edge", "pods-spawner", "pods-spawner-2", "pods-health", "pods-health-2"] {
        let mib = service::resident_kib(service::pid(&env, name)?)? as f64 / 1024.0;
        met &= judge(name, mib, TARGET, "MiB");
    }
    Ok(met)
}
