//! Logins of visitors: the edge, the API and a platform in this process, with a real Postgres, and browsers that keep
//! cookies. Traefik is played by `browser`, as its documentation describes forward authentication.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod attacks;
mod away;
mod browser;
mod clients;
mod decision;
mod domain;
mod floods;
mod flow;
mod foreign;
mod gone;
mod readers;
mod tokens;
mod world;
