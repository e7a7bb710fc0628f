//! The spawner against real Postgres and a scripted Kubernetes API. Needs `PODS_TEST_DATABASE_URL`.

mod canary;
mod faults;
mod killed;
mod life;
mod policies;
mod pull_secrets;
mod services;
mod stage;
mod values;
