//! Health against real Postgres and a scripted Kubernetes API. Needs `PODS_TEST_DATABASE_URL`, a database whose role
//! may create further ones.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod cases;
mod domains;
mod logs;
mod nameserver;
mod signals;
mod world;
