//! How much is logged: SET_LOGGING_LEVEL and `/logging/toggle`.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use proto::mesos::v1::master::call::SetLoggingLevel;
use transport::http::Refused;

pub(super) use transport::logging::level;

/// What one who may not change it is not authorized to do.
pub(super) const WHAT: &str = "change how much is logged";

/// Carries out the call.
pub(super) fn set(call: &SetLoggingLevel) -> Result<Response, Refused> {
    let duration = u64::try_from(call.duration.nanoseconds);
    let duration = duration.map_err(|_| Refused::bad_request("'duration' must not be negative"))?;
    set_for(call.level, Duration::from_nanos(duration))
}

/// Logs at `level` for a while.
pub(super) fn set_for(level: u32, duration: Duration) -> Result<Response, Refused> {
    transport::logging::set_for(level, duration)
        .map_err(|error| Refused::bad_request(error.to_string()))?;
    Ok(StatusCode::OK.into_response())
}
