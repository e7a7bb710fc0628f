//! Reading request bodies: lenient where clients rely on it, strict everywhere else, and all problems at once.
//!
//! tapipy and TapisUI send numbers as strings and booleans as words (docs/api.md, "Input"). A derive-based
//! parser stops at the first problem and cannot word it the way users of the service know, so a body is read field
//! by field; every problem becomes one line `body, field: what is wrong`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Most problems that an answer lists; a body can have a hundred thousand.
const LISTED_MAX: usize = 100;
/// Most characters that are shown of a key that a client chose.
const PLACE_MAX: usize = 100;

/// Problems found so far, each a line for the `message` array of a 400.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Violations(pub Vec<String>);

impl Violations {
    /// Notes a problem at a place such as `["body", "networking"]`. After the first hundred, one line says that there
    /// are more.
    pub fn push(&mut self, place: &[&str], problem: impl AsRef<str>) {
        match self.0.len() {
            ..LISTED_MAX => {
                let place: Vec<&str> = place.iter().map(|part| clip(part)).collect();
                self.0.push(format!("{}: {}", place.join(", "), problem.as_ref()));
            }
            LISTED_MAX => self.0.push("body: there are more problems, which are not listed".to_owned()),
            _ => {}
        }
    }

    /// Notes a rule that a well-formed value breaks.
    pub fn rule(&mut self, place: &[&str], problem: impl AsRef<str>) {
        self.push(place, format!("Value error, {}", problem.as_ref()));
    }

    /// `Ok(value)` when nothing was noted.
    ///
    /// # Errors
    /// All problems, when there are any.
    pub fn or<T>(self, value: T) -> Result<T, Violations> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

fn clip(text: &str) -> &str {
    text.char_indices().nth(PLACE_MAX).map_or(text, |(end, _)| &text[..end])
}

/// What a body says about a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Field<T> {
    /// Nothing: the field stays as it is.
    #[default]
    Absent,
    /// `null`: the field goes back to its default.
    Null,
    /// A value.
    Set(T),
}

impl<T> Field<T> {
    /// Whether the body mentions the field at all.
    pub fn is_present(&self) -> bool {
        !matches!(self, Field::Absent)
    }

    /// The value, if one was given.
    pub fn value(&self) -> Option<&T> {
        match self {
            Field::Set(value) => Some(value),
            Field::Absent | Field::Null => None,
        }
    }
}

/// Reads the members of one JSON object, noting problems with their place.
#[derive(Debug)]
pub struct Reader<'v> {
    place: Vec<String>,
    members: Map<String, Value>,
    violations: &'v mut Violations,
    /// How many problems were noted before this object was looked at.
    noted_before: usize,
}

impl<'v> Reader<'v> {
    /// Starts to read `value`, which must be an object; otherwise the problem is noted and nothing is found in it.
    pub fn new(place: &[&str], value: Value, violations: &'v mut Violations) -> Self {
        let noted_before = violations.0.len();
        let members = match value {
            Value::Object(members) => members,
            _ => {
                violations.push(place, "Input should be a valid dictionary, expected a JSON object");
                Map::new()
            }
        };
        let place = place.iter().map(|part| clip(part).to_owned()).collect();
        Self { place, members, violations, noted_before }
    }

    /// Notes a type problem of a member.
    pub fn push(&mut self, key: &str, problem: impl AsRef<str>) {
        let mut place: Vec<&str> = self.place.iter().map(String::as_str).collect();
        place.push(key);
        self.violations.push(&place, problem);
    }

    /// Notes a rule that a member breaks.
    pub fn rule(&mut self, key: &str, problem: impl AsRef<str>) {
        self.push(key, format!("Value error, {}", problem.as_ref()));
    }

    /// Takes a member as it is.
    pub fn take(&mut self, key: &str) -> Field<Value> {
        match self.members.remove(key) {
            None => Field::Absent,
            Some(Value::Null) => Field::Null,
            Some(value) => Field::Set(value),
        }
    }

    fn parsed<T>(&mut self, key: &str, parse: impl FnOnce(Value) -> Result<T, &'static str>) -> Field<T> {
        match self.take(key) {
            Field::Absent => Field::Absent,
            Field::Null => Field::Null,
            Field::Set(value) => match parse(value) {
                Ok(value) => Field::Set(value),
                Err(problem) => {
                    self.push(key, problem);
                    Field::Absent
                }
            },
        }
    }

    /// A string; numbers are not turned into text.
    pub fn string(&mut self, key: &str) -> Field<String> {
        self.parsed(key, string)
    }

    /// Whether a member is there and an empty text.
    pub fn is_blank(&self, key: &str) -> bool {
        let text = self.members.get(key).and_then(Value::as_str);
        text.is_some_and(|text| text.trim().is_empty())
    }

    /// An integer that fits in 32 bits; `"12"`, `12.0` and `"12.0"` are accepted, `""` means "not set".
    pub fn integer(&mut self, key: &str) -> Field<i32> {
        if self.is_blank(key) {
            self.members.remove(key);
            return Field::Absent;
        }
        self.parsed(key, integer)
    }

    /// A boolean; the words of [`boolean_word`] and 0/1 are accepted.
    pub fn boolean(&mut self, key: &str) -> Field<bool> {
        self.parsed(key, boolean)
    }

    /// A list of strings.
    pub fn strings(&mut self, key: &str) -> Field<Vec<String>> {
        self.parsed(key, |value| match value {
            Value::Array(items) => {
                items.into_iter().map(string).collect::<Result<_, _>>().map_err(|_| LIST_OF_STRINGS)
            }
            _ => Err(LIST_OF_STRINGS),
        })
    }

    /// An object whose values are strings; each value that is not one is a problem of its own.
    pub fn string_map(&mut self, key: &str) -> Field<BTreeMap<String, String>> {
        match self.take(key) {
            Field::Absent => Field::Absent,
            Field::Null => Field::Null,
            Field::Set(Value::Object(members)) => {
                let mut map = BTreeMap::new();
                for (name, value) in members {
                    match string(value) {
                        Ok(text) => {
                            map.insert(name, text);
                        }
                        Err(problem) => self.push(&format!("{key}, {name}"), problem),
                    }
                }
                Field::Set(map)
            }
            Field::Set(_) => {
                self.push(key, "Input should be a valid dictionary, expected a JSON object");
                Field::Absent
            }
        }
    }

    /// A string that a mandatory member must have.
    pub fn required_string(&mut self, key: &str) -> Option<String> {
        match self.string(key) {
            Field::Set(text) => Some(text),
            Field::Null => {
                self.push(key, "Input should be a valid string");
                None
            }
            Field::Absent => {
                if !self.is_noted(key) {
                    self.push(key, "Field required");
                }
                None
            }
        }
    }

    /// A nested object or list, read by a function of its own with its place.
    pub fn object<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&[&str], Value, &mut Violations) -> T,
    ) -> Field<T> {
        match self.take(key) {
            Field::Absent => Field::Absent,
            Field::Null => Field::Null,
            Field::Set(value) => {
                let mut place: Vec<&str> = self.place.iter().map(String::as_str).collect();
                place.push(key);
                Field::Set(read(&place, value, self.violations))
            }
        }
    }

    /// Whether a problem of a member was noted already.
    pub fn is_noted(&self, key: &str) -> bool {
        let start = format!("{}, {key}: ", self.place.join(", "));
        // Not an object at all: that says enough about each of its members.
        let whole = format!("{}: Input should be", self.place.join(", "));
        let noted = &self.violations.0[self.noted_before..];
        noted.iter().any(|line| line.starts_with(&start) || line.starts_with(&whole))
    }

    /// The place of this object and the noted problems, for readers of nested objects.
    pub fn nested(&mut self, key: &str) -> (Vec<String>, &mut Violations) {
        let mut place = self.place.clone();
        place.push(key.to_owned());
        (place, self.violations)
    }

    /// Ends the reading: members that nobody asked for are unknown.
    pub fn finish(mut self) {
        let unknown: Vec<String> =
            std::mem::take(&mut self.members).into_iter().map(|(key, _)| key).collect();
        for key in unknown {
            self.push(&key, "Extra inputs are not permitted");
        }
    }
}

const LIST_OF_STRINGS: &str = "Input should be a valid list of strings";

fn string(value: Value) -> Result<String, &'static str> {
    match value {
        // Postgres cannot store it, and no image, name or text needs it.
        Value::String(text) if text.contains('\0') => Err("Input should not contain the character NUL"),
        Value::String(text) => Ok(text),
        _ => Err("Input should be a valid string"),
    }
}

/// Parses an integer the lenient way of the API.
///
/// # Errors
/// What a number should look like.
pub fn integer(value: Value) -> Result<i32, &'static str> {
    const PROBLEM: &str = "Input should be a valid integer of at most 32 bits";
    let number = match &value {
        Value::Number(number) => match number.as_i64() {
            Some(integer) => return i32::try_from(integer).map_err(|_| PROBLEM),
            None => number.as_f64().ok_or(PROBLEM)?,
        },
        Value::String(text) => {
            let text = text.trim();
            match text.parse::<i32>() {
                Ok(integer) => return Ok(integer),
                Err(_) if plain_decimal(text) => text.parse::<f64>().map_err(|_| PROBLEM)?,
                Err(_) => return Err(PROBLEM),
            }
        }
        _ => return Err(PROBLEM),
    };
    if number.fract() == 0.0 && number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and within the range of i32, checked above"
        )]
        Ok(number as i32)
    } else {
        Err(PROBLEM)
    }
}

fn plain_decimal(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))
}

fn boolean(value: Value) -> Result<bool, &'static str> {
    const PROBLEM: &str = "Input should be a valid boolean";
    match value {
        Value::Bool(value) => Ok(value),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Ok(false),
            Some(1.0) => Ok(true),
            _ => Err(PROBLEM),
        },
        Value::String(text) => boolean_word(&text).ok_or(PROBLEM),
        _ => Err(PROBLEM),
    }
}

/// Reads `true t yes y on 1` and `false f no n off 0` in any case, as in bodies and query strings.
pub fn boolean_word(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_are_lenient_but_whole() {
        for good in [json!(12), json!("12"), json!(12.0), json!("12.0"), json!(" 12 ")] {
            assert_eq!(integer(good.clone()), Ok(12), "{good}");
        }
        for bad in
            [json!(12.5), json!("12.5"), json!("250m"), json!(true), json!("1e3"), json!(3e9), json!([])]
        {
            assert!(integer(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(integer(json!("-1")), Ok(-1));
    }

    #[test]
    fn an_empty_text_for_an_integer_is_not_set() {
        let mut violations = Violations::default();
        let mut reader = Reader::new(&["body"], json!({"port": "", "flag": "Yes"}), &mut violations);
        assert_eq!(reader.integer("port"), Field::Absent);
        assert_eq!(reader.boolean("flag"), Field::Set(true));
        reader.finish();
        assert_eq!(violations, Violations::default());
    }

    #[test]
    fn all_problems_are_reported_with_their_place() {
        let mut violations = Violations::default();
        let body = json!({"a": 1, "env": {"X": 2}, "list": ["x", 1], "nul": "a\u{0}b", "bogus": 1});
        let mut reader = Reader::new(&["body"], body, &mut violations);
        reader.string("a");
        reader.string_map("env");
        reader.strings("list");
        reader.string("nul");
        reader.required_string("pod_id");
        reader.finish();
        assert_eq!(
            violations.0,
            [
                "body, a: Input should be a valid string",
                "body, env, X: Input should be a valid string",
                "body, list: Input should be a valid list of strings",
                "body, nul: Input should not contain the character NUL",
                "body, pod_id: Field required",
                "body, bogus: Extra inputs are not permitted",
            ]
        );
    }

    #[test]
    fn an_answer_lists_a_bounded_number_of_problems() {
        let mut violations = Violations::default();
        for _ in 0..1000 {
            violations.push(&["body", &"k".repeat(5000)], "bad");
        }
        assert_eq!(violations.0.len(), LISTED_MAX + 1);
        assert!(violations.0[0].len() < 200 && violations.0[LISTED_MAX].contains("more problems"));
        assert!(violations.or(()).is_err());
    }

    proptest! {
        #[test]
        fn every_integer_survives_every_spelling(n in any::<i32>()) {
            prop_assert_eq!(integer(json!(n)), Ok(n));
            prop_assert_eq!(integer(json!(n.to_string())), Ok(n));
            prop_assert_eq!(integer(json!(f64::from(n))), Ok(n));
            prop_assert_eq!(integer(json!(format!("{n}.0"))), Ok(n));
        }
    }
}
