//! Finding `${...}` in a text.

/// What a `${...}` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// `${secret:name}` or `${secret:user:name}`.
    Secret {
        /// The owner, when the text names one.
        user: Option<&'a str>,
        /// Id of the secret.
        name: &'a str,
    },
    /// `${:?description}`.
    Required {
        /// What has to be given.
        description: &'a str,
    },
    /// `${pods:default:value}` or `${pods:default:value:?description}`.
    Default {
        /// What is used when nothing is given; may be empty.
        value: &'a str,
        /// What may be given.
        description: Option<&'a str>,
    },
    /// `${pods:random:N}`.
    Random {
        /// Number of characters.
        length: usize,
    },
    /// `${pods:networking:<entry>:<field>}`.
    Networking {
        /// Name of the networking entry.
        entry: &'a str,
        /// Which of its values.
        field: NetworkingField,
    },
    /// `${pods:url}`: host of the pod's `default` entry.
    PodUrl,
    /// `${pods:tapis_url}`: host of the tenant.
    TapisUrl,
    /// `${pods:pod_id}`.
    PodId,
    /// `${pods:secrets:KEY}` or `${pods:secrets:KEY:?description}`.
    Reference {
        /// Key of the secret map.
        key: &'a str,
        /// What the value is for; otherwise ignored.
        description: Option<&'a str>,
    },
    /// Nothing of ours.
    Unknown,
}

/// A value of a networking entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkingField {
    /// Host name of the entry.
    Url,
    /// The same.
    Hostname,
    /// Port of the container.
    Port,
    /// Protocol of the entry.
    Protocol,
    /// Host name of the tenant.
    TapisUrl,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// A `${...}`.
    Pattern {
        /// All of it, with `${` and `}`.
        text: &'a str,
        /// What it means.
        pattern: Pattern<'a>,
    },
}

/// Longest pattern, in bytes. A longer one is text; this also bounds the work on a text of nothing but `${`.
const PATTERN_MAX: usize = 2048;

/// Splits a text into pieces; joined again they are the text. A pattern ends at the first `}`. Where `${` only
/// belongs to the text around a pattern (`${A${pods:url}`), the pattern inside is found.
pub fn pieces(text: &str) -> Pieces<'_> {
    Pieces { text, plain_from: 0, at: 0, brace: 0, next: None }
}

/// The pieces of a text, found one by one: a text of a megabyte can have a quarter of a million.
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    text: &'a str,
    /// What lies before was given out.
    plain_from: usize,
    /// What lies before was looked at.
    at: usize,
    /// The last `}` that was found.
    brace: usize,
    /// The pattern behind the text that was given out last.
    next: Option<Piece<'a>>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if let Some(pattern) = self.next.take() {
            return Some(pattern);
        }
        let text = self.text;
        while let Some(start) = text[self.at..].find("${").map(|offset| self.at + offset) {
            if self.brace <= start {
                let Some(offset) = text[start..].find('}') else { break };
                self.brace = start + offset;
            }
            let end = self.brace + 1;
            let fits = end - start <= PATTERN_MAX;
            let pattern = if fits { classify(&text[start + 2..self.brace]) } else { Pattern::Unknown };
            if pattern == Pattern::Unknown && (!fits || text[start + 2..end].contains("${")) {
                self.at = start + 2;
                continue;
            }
            let plain = &text[self.plain_from..start];
            let pattern = Piece::Pattern { text: &text[start..end], pattern };
            (self.plain_from, self.at) = (end, end);
            if plain.is_empty() {
                return Some(pattern);
            }
            self.next = Some(pattern);
            return Some(Piece::Text(plain));
        }
        let rest = &text[self.plain_from..];
        (self.plain_from, self.at) = (text.len(), text.len());
        (!rest.is_empty()).then_some(Piece::Text(rest))
    }
}

/// What a value means that is one pattern from beginning to end.
pub fn whole(text: &str) -> Option<Pattern<'_>> {
    let mut pieces = pieces(text);
    match (pieces.next(), pieces.next()) {
        (Some(Piece::Pattern { pattern, .. }), None) => Some(pattern),
        _ => None,
    }
}

/// What stands between `${` and `}`.
fn classify(inner: &str) -> Pattern<'_> {
    let found = if let Some(description) = inner.strip_prefix(":?") {
        (!description.is_empty()).then_some(Pattern::Required { description })
    } else if let Some(rest) = inner.strip_prefix("secret:") {
        secret(rest)
    } else if let Some(rest) = inner.strip_prefix("pods:") {
        match rest.split_once(':') {
            None => match rest {
                "url" => Some(Pattern::PodUrl),
                "tapis_url" => Some(Pattern::TapisUrl),
                "pod_id" => Some(Pattern::PodId),
                _ => None,
            },
            Some(("default", rest)) => default(rest),
            Some(("random", digits)) => random(digits),
            Some(("networking", rest)) => networking(rest),
            Some(("secrets", rest)) => reference(rest),
            Some(_) => None,
        }
    } else {
        None
    };
    found.unwrap_or(Pattern::Unknown)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn secret(rest: &str) -> Option<Pattern<'_>> {
    let is_user = |user: &str| {
        !user.is_empty()
            && user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-'))
    };
    match rest.split_once(':') {
        None => is_name(rest).then_some(Pattern::Secret { user: None, name: rest }),
        Some((user, name)) => {
            (is_user(user) && is_name(name)).then_some(Pattern::Secret { user: Some(user), name })
        }
    }
}

fn default(rest: &str) -> Option<Pattern<'_>> {
    match rest.split_once(':') {
        None => Some(Pattern::Default { value: rest, description: None }),
        Some((value, description)) => {
            let description = description.strip_prefix('?').filter(|text| !text.is_empty())?;
            Some(Pattern::Default { value, description: Some(description) })
        }
    }
}

fn random(digits: &str) -> Option<Pattern<'_>> {
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    // A number that does not fit is one that is out of bounds.
    is_number.then(|| Pattern::Random { length: digits.parse().unwrap_or(usize::MAX) })
}

fn networking(rest: &str) -> Option<Pattern<'_>> {
    let (entry, field) = rest.split_once(':')?;
    let field = match field {
        "url" => NetworkingField::Url,
        "hostname" => NetworkingField::Hostname,
        "port" => NetworkingField::Port,
        "protocol" => NetworkingField::Protocol,
        "tapis_url" => NetworkingField::TapisUrl,
        _ => return None,
    };
    is_name(entry).then_some(Pattern::Networking { entry, field })
}

fn reference(rest: &str) -> Option<Pattern<'_>> {
    match rest.split_once(":?") {
        None => is_name(rest).then_some(Pattern::Reference { key: rest, description: None }),
        Some((key, description)) => (is_name(key) && !description.is_empty())
            .then_some(Pattern::Reference { key, description: Some(description) }),
    }
}
