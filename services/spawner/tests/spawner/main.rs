//! The spawner against real Postgres and a scripted Kubernetes API. Needs `PODS_TEST_DATABASE_URL`.

mod faults;
mod life;
mod stage;
