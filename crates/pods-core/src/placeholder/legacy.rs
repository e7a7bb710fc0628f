//! The older placeholders `<<tapissecret_x>>` and `<<TAPIS_x>>` for a pod's own credentials.

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyPiece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// A placeholder.
    Name {
        /// All of it, with `<<` and `>>`.
        text: &'a str,
        /// What stands behind the prefix, for example `user_password`.
        name: &'a str,
    },
}

const PREFIXES: [&str; 2] = ["<<tapissecret_", "<<TAPIS_"];

/// Splits a text into pieces; joined again they are the text.
pub fn legacy_pieces(text: &str) -> Vec<LegacyPiece<'_>> {
    let mut pieces = Vec::new();
    let mut plain_from = 0;
    let mut at = 0;
    while let Some(start) = text[at..].find("<<").map(|offset| at + offset) {
        let Some(prefix) = PREFIXES.iter().find(|prefix| text[start..].starts_with(**prefix)) else {
            at = start + 1;
            continue;
        };
        let name_start = start + prefix.len();
        let Some(length) = name_length(&text[name_start..]) else {
            at = start + 1;
            continue;
        };
        let end = name_start + length + 2;
        push_text(&mut pieces, &text[plain_from..start]);
        pieces.push(LegacyPiece::Name { text: &text[start..end], name: &text[name_start..end - 2] });
        plain_from = end;
        at = end;
    }
    push_text(&mut pieces, &text[plain_from..]);
    pieces
}

/// Longest name, in characters; a longer one is text.
const NAME_MAX: usize = 128;

/// Bytes up to `>>` on the same line, so that `cat <<TAPIS_EOF` in a script does not swallow what follows it.
fn name_length(text: &str) -> Option<usize> {
    let end =
        text.char_indices().take(NAME_MAX).find(|(at, c)| *c == '\n' || text[*at..].starts_with(">>"))?;
    (end.1 != '\n').then_some(end.0)
}

fn push_text<'a>(pieces: &mut Vec<LegacyPiece<'a>>, text: &'a str) {
    if !text.is_empty() {
        pieces.push(LegacyPiece::Text(text));
    }
}

/// Placeholders with single angle brackets, which were meant as ours but are left alone.
pub(super) fn single_angled(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find('<').map(|offset| at + offset) {
        at = start + 1;
        let doubled = text[..start].ends_with('<') || text[at..].starts_with('<');
        let inner = &text[at..];
        if doubled || !(inner.starts_with("TAPIS_") || inner.starts_with("tapissecret_")) {
            continue;
        }
        let length = inner.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
        if inner[length..].starts_with('>') && !inner[length..].starts_with(">>") {
            found.push(&text[start..at + length + 1]);
        }
    }
    found
}
