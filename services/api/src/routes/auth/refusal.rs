//! Logins that do not go on, as a page or as JSON.

use actix_web::{HttpRequest, HttpResponse, ResponseError};
use pods_db::{DbError, Unavailable};
use pods_secrets::{OpenError, SealError};

use crate::{
    edge::{
        auth::request::{login_required, wants_html},
        page::{Form, Page, Seen},
    },
    envelope,
    error::ApiError,
};

/// Why a login does not go on.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No HTTP entry of a pod of this tenant has this address.
    Unknown,
    /// What the browser brought is not known any more, or is not of this pod.
    Broken,
    /// The visitor is known, by this name, and may not pass.
    NotAllowed(String),
    /// A part of a page cannot lead anybody through a login.
    PartOfPage,
    /// Somebody that the login needs is away.
    Unavailable,
    /// Anything that the API says to everybody.
    Api(ApiError),
}

impl Refusal {
    pub fn respond(self, request: &HttpRequest) -> HttpResponse {
        let page = match &self {
            Self::Unknown => Page::Unknown,
            Self::Broken => Page::LoginBroken,
            Self::NotAllowed(_) => Page::NotAllowed,
            Self::Unavailable | Self::Api(ApiError::Unavailable(_)) => Page::LoginUnavailable,
            Self::PartOfPage => return login_required(),
            Self::Api(error) => return error.error_response(),
        };
        let seen = match &self {
            // Nobody is logged in at this host: there is no session to end.
            Self::NotAllowed(username) => Seen::Account { username },
            _ => Seen::Stranger { login: None },
        };
        page.respond(&Form { json: !wants_html(request.headers()), version: envelope::version(), seen })
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        Self::Api(error.into())
    }
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        Self::Api(error.into())
    }
}

impl From<SealError> for Refusal {
    fn from(error: SealError) -> Self {
        Self::Api(error.into())
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        Self::Api(error.into())
    }
}
