//! `/logging`: how much this process logs, changed for a while.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json as object};
use transport::logging::{level, set_for};

use super::reply::{self, Reply, json, refuse};

/// Levels by how much they tell, the one that the process was started with first.
const LEVELS: [&str; 3] = ["info", "debug", "trace"];

/// The longest that more is logged: a forgotten change must not fill a disk.
const SECONDS_MAX: u64 = 86_400;

pub(super) async fn route(request: Request) -> Reply {
    reply::only(request.method(), &[Method::GET, Method::POST])?;
    if *request.method() == Method::GET {
        let present = usize::try_from(level()).unwrap_or(0).min(LEVELS.len() - 1);
        return json(StatusCode::OK, &object!({"root": LEVELS[present]}));
    }
    let body = transport::http::read_body(request.into_body()).await;
    let body = body.map_err(|refused| reply::error(refused.status, &refused.text))?;
    let change = reply::parsed(&body)?;
    match set(&change) {
        Ok(()) => json(StatusCode::OK, &object!({"message": "The level is changed for a while"})),
        Err(why) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &why),
    }
}

fn set(change: &Value) -> Result<(), String> {
    // There is one logger: whichever is named, it is meant.
    if !change["logger"].is_string() {
        return Err("'logger' must be a name, such as root".to_owned());
    }
    let wanted = change["level"].as_str().unwrap_or_default();
    let number = LEVELS.iter().position(|known| wanted.eq_ignore_ascii_case(known));
    let number = number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
        format!("'level' must be one of {}: more can be logged, and not less", LEVELS.join(", "))
    })?;
    let seconds = change["durationSeconds"].as_u64().filter(|it| (1..=SECONDS_MAX).contains(it));
    let seconds =
        seconds.ok_or_else(|| format!("'durationSeconds' must be from 1 to {SECONDS_MAX}"))?;
    set_for(number, Duration::from_secs(seconds)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_level_that_is_none_is_told_so() {
        let wrong = |change: Value| set(&change).expect_err("refused");
        let change = object!({"logger": "root", "level": "debug", "durationSeconds": 1});
        for (name, value, told) in [
            ("logger", Value::Null, "'logger'"),
            ("level", "warn".into(), "one of info, debug, trace"),
            ("durationSeconds", 0.into(), "from 1 to"),
        ] {
            let mut change = change.clone();
            change[name] = value;
            assert!(wrong(change).contains(told), "{name}");
        }
        let mut levels = Vec::new();
        transport::logging::install(|_| {});
        for (wanted, number) in [("TRACE", 2), ("debug", 1), ("info", 0)] {
            let change = object!({"logger": "any", "level": wanted, "durationSeconds": 60});
            assert_eq!(set(&change), Ok(()));
            levels.push((level(), number));
        }
        assert!(levels.iter().all(|(found, wanted)| found == wanted), "{levels:?}");
    }
}
