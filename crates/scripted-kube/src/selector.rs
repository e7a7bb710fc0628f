//! Label and field selectors.

use std::collections::BTreeMap;

use crate::{object::Object, refusal::Refusal};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Has(String),
    HasNot(String),
}

/// A sign, and what the words before and behind it make.
type Sign = (&'static str, fn(String, String) -> Term);

/// Which objects of a kind are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Term>,
    fields: Vec<Term>,
}

impl Selector {
    /// Reads the two query parameters.
    ///
    /// # Errors
    /// 400 for what is no selector.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Refusal> {
        Ok(Self { labels: terms(labels)?, fields: terms(fields)? })
    }

    /// Whether everything is asked for.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The labels that must have one certain value.
    pub fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().filter_map(|term| match term {
            Term::Is(key, value) => Some((key.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// Whether the object is among them.
    pub fn matches(&self, object: &Object) -> bool {
        let label = |key: &str| object.labels.get(key).map(|value| &**value);
        let field = |key: &str| match key {
            "metadata.name" => Some(object.name()),
            "metadata.namespace" => Some(object.namespace()),
            other => object.fields.iter().find(|(name, _)| *name == other).map(|(_, value)| &**value),
        };
        self.labels.iter().all(|term| holds(term, &label))
            && self.fields.iter().all(|term| holds(term, &field))
    }
}

fn holds<'a>(term: &Term, value: &impl Fn(&str) -> Option<&'a str>) -> bool {
    match term {
        Term::Is(key, wanted) => value(key) == Some(wanted),
        Term::IsNot(key, wanted) => value(key) != Some(wanted),
        Term::In(key, wanted) => value(key).is_some_and(|found| wanted.iter().any(|one| one == found)),
        Term::NotIn(key, wanted) => !value(key).is_some_and(|found| wanted.iter().any(|one| one == found)),
        Term::Has(key) => value(key).is_some(),
        Term::HasNot(key) => value(key).is_none(),
    }
}

fn terms(text: &str) -> Result<Vec<Term>, Refusal> {
    split(text).into_iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(term).collect()
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0_u32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn term(text: &str) -> Result<Term, Refusal> {
    let owned = |text: &str| text.trim().to_owned();
    let set = |(key, values): (&str, &str), make: fn(String, Vec<String>) -> Term| {
        let inner = values.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let inner =
            inner.ok_or_else(|| Refusal::bad_request(format!("unable to parse requirement: {text}")))?;
        Ok(make(owned(key), inner.split(',').map(owned).collect()))
    };
    if let Some(parts) = text.split_once(" notin ") {
        return set(parts, Term::NotIn);
    }
    if let Some(parts) = text.split_once(" in ") {
        return set(parts, Term::In);
    }
    let by: [Sign; 3] = [("!=", Term::IsNot), ("==", Term::Is), ("=", Term::Is)];
    for (sign, make) in by {
        if let Some((key, value)) = text.split_once(sign) {
            return Ok(make(owned(key), owned(value)));
        }
    }
    Ok(match text.strip_prefix('!') {
        Some(key) => Term::HasNot(owned(key)),
        None => Term::Has(owned(text)),
    })
}

/// Reads a query string; of a key that comes twice the last value counts.
pub fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::Resource;

    #[test]
    fn selectors_mean_what_they_mean_in_kubernetes() {
        let pods = Resource::named("pods").unwrap();
        let mut value = json!({
            "metadata": {"name": "a", "namespace": "n", "labels": {"app": "web", "tier": "one"}},
            "status": {"phase": "Running"},
        });
        let object = Object::new(pods, 1, &mut value);
        for (labels, fields, expected) in [
            ("", "", true),
            ("app=web", "", true),
            ("app==web,tier!=two", "", true),
            ("app in (db, web)", "metadata.name=a", true),
            ("app notin (db),!gone,tier", "", true),
            ("app=db", "", false),
            ("gone", "", false),
            ("", "status.phase!=Running", false),
            ("", "spec.nodeName=x", false),
        ] {
            let selector = Selector::parse(labels, fields).unwrap();
            assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
        }
        assert!(Selector::parse("app in web", "").is_err());
        assert_eq!(query("a=1%2C2&watch&b=x+y")["a"], "1,2");
    }
}
