//! Health against real Postgres and a scripted Kubernetes API. Needs `PODS_TEST_DATABASE_URL`, a database whose role
//! may create further ones.

mod cases;
mod logs;
mod world;
