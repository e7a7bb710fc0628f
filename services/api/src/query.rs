//! Query parameters, read as leniently as bodies.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use pods_core::input::{Violations, boolean_word};

use crate::error::ApiError;

/// The query of a request.
///
/// Extracting it never fails: who is asking and whether they may comes first, then [`Query::flags`]. Parameters that
/// an operation does not have are ignored.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=2`.
    pub fn parse(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The values of several yes-or-no parameters, each with what counts when it is not given.
    ///
    /// # Errors
    /// 400 with a line for every value that is no boolean word; an empty one is none.
    pub fn flags<const N: usize>(&self, wanted: [(&str, bool); N]) -> Result<[bool; N], ApiError> {
        let mut violations = Violations::default();
        let values = wanted.map(|(name, default)| match self.last(name).map(boolean_word) {
            None => default,
            Some(Some(value)) => value,
            Some(None) => {
                violations.push(&["query", name], "Input should be a valid boolean: true or false");
                default
            }
        });
        Ok(violations.or(values)?)
    }

    /// The value of one yes-or-no parameter.
    ///
    /// # Errors
    /// As [`Query::flags`].
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        self.flags([(name, default)]).map(|[value]| value)
    }

    /// The values of a parameter that may be repeated.
    pub fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Of a repeated parameter the last one counts.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl FromRequest for Query {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::parse(request.query_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_words_in_any_case() {
        let query = Query::parse("full=True&force=0&derived=ON&twice=no&twice=yes&unknown=maybe");
        let wanted =
            [("full", false), ("force", true), ("derived", false), ("twice", false), ("absent", true)];
        assert_eq!(query.flags(wanted).unwrap(), [true, false, true, true, true]);
    }

    #[test]
    fn what_is_no_boolean_is_a_line_each() {
        let query = Query::parse("full=&force=2");
        let Err(ApiError::Invalid(violations)) = query.flags([("full", true), ("force", false)]) else {
            panic!("an empty value and a number are no booleans")
        };
        assert_eq!(
            violations.0,
            [
                "query, full: Input should be a valid boolean: true or false",
                "query, force: Input should be a valid boolean: true or false"
            ]
        );
    }
}
