//! What nobody gets through with at an entry with `tapis_auth`, against the real proxy. What a hostile page can make a
//! real browser do is in `browser.rs`.

mod headers;
mod sessions;
mod ways;

use integration_tests::{Scene, env::TokenWish};

/// A token of a user of the tenant `dev`.
fn token_of(scene: &Scene, user: &str) -> String {
    scene.env.token(TokenWish { user, ..TokenWish::default() })
}

/// A header as an option of curl.
fn header(name: &str, value: &str) -> [String; 2] {
    ["--header".to_owned(), format!("{name}: {value}")]
}

fn slices(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}
