//! Status codes of the service that this one replaces, for installations whose users' scripts rely on them.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::Next,
    web::Data,
};

use super::adjust;
use crate::state::AppState;

/// With `compat.auth_errors_400`: 400 instead of 401 and 403.
pub async fn auth_errors(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let wanted = request.app_data::<Data<AppState>>().is_some_and(|app| app.http.auth_errors_400);
    let result = next.call(request).await;
    if !wanted {
        return result;
    }
    adjust(result, |status, _| {
        if matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            *status = StatusCode::BAD_REQUEST;
        }
    })
}
