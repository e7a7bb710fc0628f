//! The API service of Pods: REST for users (`serve`), and what Traefik asks (`edge`).
//!
//! A handler reads: who (the [`caller::Caller`] extractor), what (a finder scoped to the caller's tenant), may they
//! (one call of `pods_core::permission::decide`), do it (one transaction), answer (a view, never the row).

pub mod answers;
pub mod body;
pub mod caller;
pub mod cluster;
pub mod config;
pub mod edge;
pub mod envelope;
pub mod error;
pub mod explanation;
pub mod feed;
pub mod log_feed;
pub mod metrics;
pub mod middleware;
pub mod migrate;
pub mod openapi;
pub mod paths;
pub mod query;
pub mod routes;
pub mod seed;
pub mod serve;
pub mod sse;
pub mod state;
pub mod view;
