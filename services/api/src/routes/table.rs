//! How routes are written down: a place is a path and what may be done there.

use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, Route, guard, web};
use pods_core::ids::RESERVED_POD_IDS;

use super::misc::not_found;
use crate::{
    body::{BodyLimit, DEFINITION_BODY_MAX},
    error::ApiError,
};

/// A path and its operations.
pub(super) struct Place {
    path: String,
    entries: Vec<Entry>,
}

/// An operation at a place.
pub(super) struct Entry {
    methods: &'static [&'static str],
    route: Route,
    large: bool,
}

/// GET, and HEAD as GET without its body.
pub(super) fn get<F, Args>(handler: F) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let route = web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    Entry { methods: &["GET", "HEAD"], route: route.to(handler), large: false }
}

/// GET without HEAD, because the request does something.
pub(super) fn get_only<F, Args>(handler: F) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Entry { methods: &["GET"], route: web::get().to(handler), large: false }
}

/// GET as documented, and POST; never HEAD, because the request does something.
pub(super) fn act<F, Args>(handler: F) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let route = web::route().guard(guard::Any(guard::Get()).or(guard::Post()));
    Entry { methods: &["GET", "POST"], route: route.to(handler), large: false }
}

/// POST.
pub(super) fn post<F, Args>(handler: F) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Entry { methods: &["POST"], route: web::post().to(handler), large: false }
}

/// PUT.
pub(super) fn put<F, Args>(handler: F) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Entry { methods: &["PUT"], route: web::put().to(handler), large: false }
}

/// DELETE.
pub(super) fn delete<F, Args>(handler: F) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Entry { methods: &["DELETE"], route: web::delete().to(handler), large: false }
}

/// An operation whose body may carry the contents of configuration files.
pub(super) fn large(entry: Entry) -> Entry {
    Entry { large: true, ..entry }
}

/// A path and its operations.
pub(super) fn at<const N: usize>(path: &str, entries: [Entry; N]) -> Place {
    Place { path: path.to_owned(), entries: entries.into() }
}

impl Place {
    /// Everything below a word that is no pod id and was not listed before: not there, rather than an unknown pod.
    pub(super) fn reserved_words() -> Self {
        let words = RESERVED_POD_IDS.join("|");
        Self { path: format!("/{{word:{words}}}{{rest:(/.*)?}}"), entries: Vec::new() }
    }

    /// The resource of this place; what is not possible there answers 405.
    pub(super) fn below(self, prefix: &str) -> Resource {
        let mut resource = web::resource(format!("{prefix}{}", self.path));
        if self.entries.is_empty() {
            return resource.default_service(web::to(not_found));
        }
        let allow = self.methods().join(", ");
        if self.entries.iter().any(|entry| entry.large) {
            resource = resource.app_data(BodyLimit(DEFINITION_BODY_MAX));
        }
        for entry in self.entries {
            resource = resource.route(entry.route);
        }
        resource.default_service(web::to(move || {
            let allow = allow.clone();
            async move { Err::<HttpResponse, _>(ApiError::MethodNotAllowed { allow }) }
        }))
    }

    /// Path and methods, the path as an OpenAPI document writes it.
    pub(super) fn listed(&self) -> Option<(String, Vec<&'static str>)> {
        (!self.entries.is_empty()).then(|| (self.path.replace(":.+}", "}"), self.methods()))
    }

    fn methods(&self) -> Vec<&'static str> {
        self.entries.iter().flat_map(|entry| entry.methods).copied().collect()
    }
}
