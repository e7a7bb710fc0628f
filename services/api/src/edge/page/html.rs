//! Pages as HTML: no scripts, nothing from elsewhere, readable by screen readers and without styles.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::{Content, Page, Seen};
use crate::view::{EntryView, ExplanationView};

const TEMPLATE: &str = include_str!("page.html");
/// Where a session is ended, on every host of a pod.
const LOGOUT: &str = "/.well-known/tapis-pods/logout";

/// The whole document.
pub(super) fn page(page: Page, content: &Content, seen: &Seen<'_>) -> String {
    let refresh = match content.refresh {
        Some(seconds) => format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"),
        None => String::new(),
    };
    let bar = match content.refresh {
        Some(_) => "<div class=\"bar\" aria-hidden=\"true\"><span></span></div>\n",
        None => "",
    };
    TEMPLATE
        .replace("<!--refresh-->\n", &refresh)
        .replace("<!--bar-->\n", bar)
        .replace("{state}", content.state)
        .replace("{title}", content.title)
        .replace("{text}", content.text)
        // Last, because what users wrote stands in it.
        .replace("<!--more-->\n", &more(page, seen))
}

fn more(page: Page, seen: &Seen<'_>) -> String {
    match seen {
        Seen::Stranger { login: Some(login) } if page.is_about_a_pod() => format!(
            "<p class=\"login\">Do you work on this pod? <a href=\"{}\">Log in</a> to see more.</p>\n",
            escaped(login)
        ),
        Seen::Stranger { .. } => String::new(),
        Seen::Account { username } => format!(
            "<footer>\n<p>You are logged in to Tapis as <strong>{}</strong>. To come in as somebody else, log out there \
             first.</p>\n</footer>\n",
            escaped(username)
        ),
        Seen::Guest { username } => footer(username, "You are logged in as"),
        Seen::Reader { username, insight } => {
            let explanation = match insight {
                Some(insight) => explanation(insight),
                None => "<section aria-labelledby=\"more\">\n<h2 id=\"more\">What is known</h2>\n\
                         <p>You may see why, but it cannot be read at the moment. Reload this page in a while.</p>\n\
                         </section>\n"
                    .to_owned(),
            };
            explanation
                + &footer(username, "You see this because you may read this pod. You are logged in as")
        }
    }
}

fn footer(username: &str, words: &str) -> String {
    format!(
        "<footer>\n<p>{words} <strong>{}</strong>.</p>\n\
         <form method=\"post\" action=\"{LOGOUT}\"><button type=\"submit\">Log out</button></form>\n</footer>\n",
        escaped(username)
    )
}

fn explanation(known: &ExplanationView) -> String {
    let mut html = String::from("<section aria-labelledby=\"more\">\n<h2 id=\"more\">What is known</h2>\n");
    let mut line = |text: String| {
        html += &text;
        html.push('\n');
    };
    line(format!("<p>{}</p>", escaped(&known.message)));
    line("<dl>".to_owned());
    let mut item = |name: &str, value: String| line(format!("<dt>{name}</dt><dd>{value}</dd>"));
    item("Pod", code(&known.pod_id));
    item("Status", format!("{} ({})", code(known.status), code(known.code)));
    item("Since", moment(known.since));
    if let Some(waiting_for) = &known.waiting_for {
        item("Waits for", escaped(waiting_for));
    }
    item("Who can act", who(known.who_can_act).to_owned());
    if let Some(call) = &known.next_call {
        let line = format!("{} {}", call.method, call.path);
        item("Next call", format!("{}: {}", code(&line), escaped(&call.why)));
    }
    line("</dl>".to_owned());
    list(&mut html, "hints", "Hints", known.hints.iter().map(|hint| escaped(hint)));
    list(&mut html, "networking", "Networking", known.networking.iter().map(entry));
    html + "</section>\n"
}

fn list(html: &mut String, id: &str, title: &str, items: impl ExactSizeIterator<Item = String>) {
    if items.len() == 0 {
        return;
    }
    let mut text = format!("<h3 id=\"{id}\">{title}</h3>\n<ul aria-labelledby=\"{id}\">\n");
    for item in items {
        text += &format!("<li>{item}</li>\n");
    }
    *html += &text;
    *html += "</ul>\n";
}

fn entry(entry: &EntryView) -> String {
    let mut text = format!("{} ({})", code(&entry.name), escaped(entry.protocol));
    if let Some(url) = &entry.url {
        let _infallible = write!(text, " at {}", code(url));
    }
    let _infallible = write!(text, ": {}", escaped(&entry.message));
    if let Some(domain) = &entry.custom_domain {
        let _infallible = write!(text, " Domain {}: {}", code(&domain.domain), escaped(&domain.message));
    }
    text
}

fn who(word: &str) -> &'static str {
    match word {
        "you" => "You",
        "owner" => "Whoever has ADMIN on the pod",
        "operator" => "The operators of the service",
        _ => "Nobody has to",
    }
}

fn moment(at: DateTime<Utc>) -> String {
    format!(
        "<time datetime=\"{}\">{}</time>",
        at.format("%Y-%m-%dT%H:%M:%SZ"),
        at.format("%Y-%m-%d %H:%M:%S UTC")
    )
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// Text that stands in an element or in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // Neither visible nor harmless: they can turn around what a line seems to say.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                out.push(' ')
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_users_write_is_markup() {
        assert_eq!(escaped("a<b>&\"'\n\u{202e}x"), "a&lt;b&gt;&amp;&quot;&#39;  x");
    }
}
