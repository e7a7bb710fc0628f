//! Pages as they go out: snapshots, contrast, and that nothing of a pod is in them that is not for the visitor.

use std::fmt::Write;

use actix_web::{body::to_bytes, http::StatusCode};
use chrono::DateTime;
use serde_json::Value;

use super::*;
use crate::view::{DomainView, EntryView, NextCallView};

const LOGIN: &str = "/.well-known/tapis-pods/login?return=%2Flab%3Fa%3D1";

fn insight() -> ExplanationView {
    let at = DateTime::from_timestamp(1_795_233_600, 0).unwrap();
    ExplanationView {
        pod_id: "shop".to_owned(),
        status: "ERROR",
        status_requested: "ON",
        code: "image_not_found",
        message: "The registry has no such image. The image is \"acme/<b>shop</b>:2\".".to_owned(),
        waiting_for: None,
        who_can_act: "you",
        next_call: Some(NextCallView {
            method: "PUT",
            path: "/v3/pods/shop".to_owned(),
            why: "correct image; then start the pod".to_owned(),
        }),
        since: at,
        last_progress: at,
        phases: Vec::new(),
        last_loss: None,
        deadline: None,
        networking: vec![EntryView {
            name: "default".to_owned(),
            protocol: "http",
            url: Some("shop.pods.dev.example.org".to_owned()),
            live: false,
            message: "The pod does not run; visitors see a page that says so.".to_owned(),
            custom_domain: Some(DomainView {
                domain: "shop.example.org".to_owned(),
                verified: false,
                message: "It leads to the pod once there is a TXT record.".to_owned(),
                record_name: "_tapis-pods.shop.example.org".to_owned(),
                record_text: "pod-uid=1".to_owned(),
            }),
        }],
        hints: vec!["{title} is no placeholder here & <!--refresh--> neither".to_owned()],
    }
}

async fn answer(page: Page, json: bool, seen: Seen<'_>) -> (HttpResponse<()>, String) {
    let response = page.respond(&Form { json, version: "test", seen });
    let (head, body) = response.into_parts();
    (head, String::from_utf8(to_bytes(body).await.unwrap().to_vec()).unwrap())
}

async fn html(page: Page, seen: Seen<'_>) -> String {
    answer(page, false, seen).await.1
}

fn stranger() -> Seen<'static> {
    Seen::Stranger { login: Some(LOGIN) }
}

/// What stands between the first `start` and the `end` after it.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

#[actix_web::test]
async fn every_page_is_as_it_was() {
    let mut all = String::new();
    for page in Page::ALL {
        let (head, html) = answer(page, false, stranger()).await;
        let header = |name: &str| head.headers().get(name).map_or("-", |value| value.to_str().unwrap());
        writeln!(
            all,
            "{page:?}: {} retry-after: {} cache-control: {} x-robots-tag: {}",
            head.status(),
            header("retry-after"),
            header("cache-control"),
            header("x-robots-tag")
        )
        .unwrap();
        let refresh = html.lines().find(|line| line.contains("http-equiv"));
        writeln!(all, "{}\n{}", refresh.unwrap_or("(stays)"), between(&html, "<body>\n", "\n</body>"))
            .unwrap();
        let (_, json) = answer(page, true, stranger()).await;
        writeln!(all, "{json}\n").unwrap();
    }
    insta::assert_snapshot!("pages", all);
    insta::assert_snapshot!("document", html(Page::Starting, stranger()).await);
}

#[test]
fn the_guide_has_every_page() {
    let guide = include_str!("../../../../../docs/networking.md");
    for page in Page::ALL {
        let content = page.content();
        let again = content.refresh.map(|seconds| format!("after {seconds} s ")).unwrap_or_default();
        let row = format!("| `{}` | {} | {again}|", content.state, page.status().as_u16());
        assert!(guide.contains(&row), "{row}");
    }
}

#[actix_web::test]
async fn pages_look_again_only_where_waiting_makes_sense() {
    for page in Page::ALL {
        let (head, html) = answer(page, false, stranger()).await;
        let retry_after = head.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let waits = matches!(
            page,
            Page::Starting
                | Page::Opening
                | Page::Stopping
                | Page::Deleting
                | Page::Unavailable
                | Page::LoginUnavailable
        );
        assert_eq!(retry_after.is_some(), waits, "{page:?}");
        let refresh = retry_after.map(|seconds| format!("http-equiv=\"refresh\" content=\"{seconds}\""));
        assert!(refresh.is_none_or(|refresh| html.contains(&refresh)), "{page:?}");
        assert_eq!(html.contains("http-equiv=\"refresh\""), waits, "{page:?}");
        assert_eq!(html.contains("looks again") || html.contains("takes you there"), {
            // Nobody waits for a pod to be gone.
            waits && !matches!(page, Page::Stopping | Page::Deleting)
        });
        assert!(!waits || head.status() == StatusCode::SERVICE_UNAVAILABLE, "{page:?}");
    }
}

#[actix_web::test]
async fn pages_need_nothing_but_themselves() {
    let known = insight();
    for page in Page::ALL {
        for seen in [
            Seen::Stranger { login: None },
            stranger(),
            Seen::Guest { username: "bob" },
            Seen::Reader { username: "alice", insight: Some(&known) },
            Seen::Reader { username: "alice", insight: None },
        ] {
            let (head, html) = answer(page, false, seen).await;
            assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"), "{page:?}");
            for once in ["<main ", "<h1>", "<title>", "name=\"viewport\"", "name=\"robots\""] {
                assert_eq!(html.matches(once).count(), 1, "{page:?}: {once}");
            }
            assert_eq!(between(&html, "<title>", "<"), between(&html, "<h1>", "<"), "{page:?}");
            for foreign in
                ["http://", "https://", "src=", "<script", "{state}", "{text}", "onclick", "<!--bar"]
            {
                assert!(!html.contains(foreign), "{page:?} contains {foreign}");
            }
            let policy = head.headers().get("content-security-policy").unwrap().to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"), "{policy}");
        }
    }
}

#[actix_web::test]
async fn who_may_read_the_pod_sees_why() {
    let known = insight();
    let reader = Seen::Reader { username: "alice", insight: Some(&known) };
    let html = html(Page::Failed, reader).await;
    insta::assert_snapshot!("reader", between(&html, "<body>\n", "\n</body>"));
    assert!(!html.contains("<b>") && html.contains("acme/&lt;b&gt;shop&lt;/b&gt;:2"));
    assert!(html.contains("{title} is no placeholder here &amp; &lt;!--refresh--&gt; neither"));
    let (_, json) = answer(Page::Failed, true, reader).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["result"]["code"], "image_not_found");
    assert_eq!(json["result"]["networking"][0]["custom_domain"]["verified"], false);

    let (_, without) = answer(Page::Failed, false, Seen::Reader { username: "alice", insight: None }).await;
    assert!(without.contains("cannot be read at the moment"), "{without}");
}

#[actix_web::test]
async fn strangers_and_guests_see_the_state_and_nothing_else() {
    for page in Page::ALL {
        let stranger = html(page, stranger()).await;
        assert_eq!(stranger.contains("Log in</a>"), page.is_about_a_pod(), "{page:?}");
        // With nobody to log in at, the page is the same for every pod in the world.
        let plain = html(page, Seen::Stranger { login: None }).await;
        assert!(!plain.contains("href=\"/") && !plain.contains("<form"), "{page:?}");
        let guest = html(page, Seen::Guest { username: "<bob>" }).await;
        assert!(
            guest.contains("You are logged in as <strong>&lt;bob&gt;</strong>.")
                && guest.contains("method=\"post\"")
        );
        assert!(!guest.contains("What is known"), "{page:?}");
        for seen in [Seen::Stranger { login: Some(LOGIN) }, Seen::Guest { username: "bob" }] {
            let json: Value = serde_json::from_str(&answer(page, true, seen).await.1).unwrap();
            assert_eq!(json["result"], Value::Null);
        }
    }
}

/// Relative luminance as WCAG 2 defines it.
fn luminance(hex: &str) -> f64 {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[actix_web::test]
async fn pages_can_be_read_in_both_schemes() {
    let html = html(Page::Starting, stranger()).await;
    let style = between(&html, "<style>", "</style>");
    let (light, rest) = style.split_once("@media (prefers-color-scheme: dark) {").unwrap();
    let dark = rest.split_once("\n}\n").unwrap().0;
    for (scheme, css) in [("light", light), ("dark", dark)] {
        let colour = |name: &str| between(css, &format!("--{name}: "), ";").to_owned();
        let card = colour("card");
        for text in ["text", "soft", "link"] {
            let ratio = contrast(&colour(text), &card);
            assert!(ratio >= 4.5, "{scheme} {text}: {ratio:.2}");
        }
        assert!(contrast(&colour("edge"), &card) >= 3.0, "{scheme}: the border of the button");
        let marks: Vec<&str> = css.split("--mark: ").skip(1).map(|rest| &rest[..7]).collect();
        assert!(marks.len() >= 5, "{marks:?}");
        for mark in marks {
            assert!(contrast(mark, &card) >= 3.0, "{scheme} {mark}");
        }
    }
    assert!(style.contains("prefers-reduced-motion") && style.contains(":focus-visible"));
}

#[actix_web::test]
async fn who_has_no_session_is_named_and_offered_no_logout() {
    let page = html(Page::NotAllowed, Seen::Account { username: "bob<" }).await;
    assert!(page.contains("<strong>bob&lt;</strong>") && !page.contains("<form"), "{page}");
}

/// Every page as a file, to be looked at: set `PODS_PAGES_DIR`.
#[actix_web::test]
async fn pages_can_be_written_to_files() {
    let Some(folder) = std::env::var_os("PODS_PAGES_DIR").map(std::path::PathBuf::from) else { return };
    let known = insight();
    for page in Page::ALL {
        std::fs::write(folder.join(format!("{page:?}.html")), html(page, stranger()).await).unwrap();
    }
    let views = [
        ("reader", Page::Failed, Seen::Reader { username: "alice", insight: Some(&known) }),
        ("reader-without", Page::Failed, Seen::Reader { username: "alice", insight: None }),
        ("guest", Page::Stopped, Seen::Guest { username: "bob" }),
        ("not-allowed", Page::NotAllowed, Seen::Guest { username: "bob" }),
        ("not-allowed-account", Page::NotAllowed, Seen::Account { username: "bob" }),
    ];
    for (name, page, seen) in views {
        std::fs::write(folder.join(format!("{name}.html")), html(page, seen).await).unwrap();
    }
}
