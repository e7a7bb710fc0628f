//! What happens around every request, from the outside in: CORS, request id and log span, panics, the path's
//! slashes, the time limit. The rate limit is checked where the caller becomes known ([`crate::caller`]).

pub mod compat;
pub mod cors;
pub mod panics;
pub mod rate_limit;
pub mod request_id;
pub mod time_limit;

use actix_web::{Error, HttpResponse, body::MessageBody, dev::ServiceResponse, error::InternalError};

/// Applies `change` to an answer, also to one that a layer further inside made of an error.
fn adjust<B: MessageBody>(
    result: Result<ServiceResponse<B>, Error>,
    change: impl FnOnce(&mut actix_web::http::StatusCode, &mut actix_web::http::header::HeaderMap),
) -> Result<ServiceResponse<B>, Error> {
    match result {
        Ok(mut answer) => {
            let mut status = answer.status();
            change(&mut status, answer.headers_mut());
            *answer.response_mut().status_mut() = status;
            Ok(answer)
        }
        Err(error) => {
            let mut answer: HttpResponse = error.as_response_error().error_response();
            let mut status = answer.status();
            change(&mut status, answer.headers_mut());
            *answer.status_mut() = status;
            Err(InternalError::from_response(error, answer).into())
        }
    }
}
