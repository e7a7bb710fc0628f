//! Where it is searched, and for what.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What is searched, by name.
#[derive(Default)]
pub struct Places(pub BTreeMap<String, String>);

impl Places {
    pub fn add(&mut self, name: impl Into<String>, text: impl AsRef<str>) {
        self.0.entry(name.into()).or_default().push_str(text.as_ref());
    }

    /// The places that hold one of these values, plain or in one of the codings that services use.
    pub fn search(&self, values: &BTreeSet<String>) -> Vec<String> {
        let mut found = Vec::new();
        for (name, text) in &self.0 {
            for value in values {
                for form in forms(value) {
                    if let Some(at) = text.find(&form) {
                        let around: String = text[..at].chars().rev().take(80).collect();
                        let around: String = around.chars().rev().collect();
                        found.push(format!("{name}: ..{around}[{form}]"));
                        break;
                    }
                }
            }
        }
        found
    }
}

/// A value as it is, as JSON, as Rust prints it, and in base64 with each of the three places where it may begin.
fn forms(value: &str) -> BTreeSet<String> {
    let json = Value::from(value).to_string();
    let debug = format!("{value:?}");
    let inner = |quoted: &str| quoted[1..quoted.len() - 1].to_owned();
    let mut forms = BTreeSet::from([value.to_owned(), inner(&json), inner(&debug)]);
    for before in 0..3 {
        let bytes: Vec<u8> = std::iter::repeat_n(b'x', before).chain(value.bytes()).collect();
        let coded = base64(&bytes);
        // What the neighbours have a part in is left out at both ends.
        let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        forms.insert(coded[from..to].to_owned());
    }
    forms
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut coded = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digit =
            |place: u32| char::from(DIGITS[usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0)]);
        coded.extend((0..=u32::try_from(group.len()).unwrap_or(3)).map(digit));
    }
    coded
}

#[test]
fn a_planted_value_is_found_in_any_coding() {
    let value = "two \"words\" and\na line".to_owned();
    let values = BTreeSet::from([value.clone()]);
    let planted = [
        value.clone(),
        format!("{{\"a\":{}}}", Value::from(value.as_str())),
        format!("{value:?}"),
        base64(value.as_bytes()),
        base64(format!("a{value}b").as_bytes()),
        base64(format!("ab{value}").as_bytes()),
        format!("{{\"deep\":\"{}\"}}", base64(format!("abc{value}abcd").as_bytes())),
    ];
    for text in planted {
        let mut places = Places::default();
        places.add("somewhere", format!("before {text} after"));
        assert_eq!(places.search(&values).len(), 1, "{text}");
    }
    let mut places = Places::default();
    places.add("somewhere", format!("two words and a line {}", base64(b"something else")));
    assert_eq!(places.search(&values), Vec::<String>::new());
    assert_eq!(base64(b"Many hands make light work."), "TWFueSBoYW5kcyBtYWtlIGxpZ2h0IHdvcmsu");
    assert_eq!(base64(b"ab"), "YWI");
}
