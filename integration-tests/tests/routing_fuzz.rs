//! A few hundred hostile definitions; `cargo xtask fuzz routing` has many more.

use integration_tests::routing_fuzz;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_definitions_touch_nobody_and_traefik_takes_them() {
    let tally = routing_fuzz::run(600, 5, |_| ()).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(tally.accepted > 100 && tally.routers > 200, "too little was accepted: {tally:?}");
}
