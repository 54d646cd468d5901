//! Fields that mean nothing: warned of, or refused for those who ask for it with `strict=true`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use marathon_core::app::parse::{self, Kind};
use serde_json::{Value, json as object};

use super::Call;
use super::reply::{self, Refused};

/// Warnings of one answer. Clients take some hundred headers, and who misspelt so much has not named
/// fields at all.
const WARNINGS_MAX: usize = 20;

/// What of a path is shown: as much as a person reads, and less than a header may have.
const PATH_BYTES_MAX: usize = 200;

/// Paths of the fields of one body that mean nothing.
pub(super) struct Unknown(Vec<String>);

impl Unknown {
    /// Looks for them, and refuses them if that is asked for.
    pub(super) fn of(call: &Call<'_>, kind: Kind, body: &Value) -> Result<Self, Refused> {
        let unknown = parse::unknown_fields(kind, body);
        if unknown.is_empty() || !call.query.flag("strict", false) {
            return Ok(Self(unknown));
        }
        let detail = |path: &String| object!({"path": path, "errors": ["is an unknown field"]});
        let details: Vec<_> = unknown.iter().map(detail).collect();
        let body = object!({"message": "Object is not valid", "details": details});
        Err(Refused(Box::new(reply::value(StatusCode::UNPROCESSABLE_ENTITY, &body))))
    }

    /// Says of each that it was ignored.
    pub(super) fn warn(&self, mut response: Response) -> Response {
        let Self(unknown) = self;
        let mut warn = |text: String| {
            if let Ok(text) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
                response.headers_mut().append(header::WARNING, text);
            }
        };
        for path in unknown.iter().take(WARNINGS_MAX) {
            let plain = path.chars().filter(|c| c.is_ascii_graphic() && *c != '"');
            let plain: String = plain.take(PATH_BYTES_MAX).collect();
            warn(format!("the field {plain} is unknown and ignored"));
        }
        if let Some(more) = unknown.len().checked_sub(WARNINGS_MAX).filter(|more| *more > 0) {
            warn(format!("{more} more fields are unknown and ignored"));
        }
        response
    }
}
