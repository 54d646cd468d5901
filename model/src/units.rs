//! Durations and sizes as people type them in flags: `10secs`, `1.5hrs`, `64MB`.
//!
//! Units are those of Mesos flags. Both kinds are one number directly followed by its unit.

use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("'{text}' is not {wanted}")]
pub struct BadUnit {
    /// What was given.
    pub text: String,
    /// What is wanted, with an example.
    pub wanted: &'static str,
}

const DURATION: &str =
    "a duration: a number and one of ns, us, ms, secs, mins, hrs, days, weeks, such as 10secs";
const BYTES: &str = "a size: a number and one of B, KB, MB, GB, TB (powers of 1024), such as 64MB";

/// Reads a duration such as `15secs`, `500ms` or `1weeks`.
pub fn parse_duration(text: &str) -> Result<Duration, BadUnit> {
    let bad = || BadUnit { text: text.to_owned(), wanted: DURATION };
    let (number, unit) = split(text).ok_or_else(bad)?;
    let nanos = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" | "secs" | "sec" => 1e9,
        "m" | "mins" | "min" => 60e9,
        "h" | "hrs" | "hr" => 3_600e9,
        "d" | "days" | "day" => 86_400e9,
        "w" | "weeks" | "week" => 604_800e9,
        _ => return Err(bad()),
    };
    Duration::try_from_secs_f64(number * nanos / 1e9).map_err(|_| bad())
}

/// Writes a duration in the largest unit that leaves a whole number: `15secs`, `10mins`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units: [(u128, &str); 8] = [
        (604_800_000_000_000, "weeks"),
        (86_400_000_000_000, "days"),
        (3_600_000_000_000, "hrs"),
        (60_000_000_000, "mins"),
        (1_000_000_000, "secs"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    if nanos == 0 {
        return "0ns".to_owned();
    }
    let (size, name) = units
        .into_iter()
        .find(|(size, _)| nanos.is_multiple_of(*size))
        .expect("one nanosecond divides all");
    format!("{}{name}", nanos / size)
}

/// Reads a size such as `512MB` into bytes.
pub fn parse_bytes(text: &str) -> Result<u64, BadUnit> {
    let bad = || BadUnit { text: text.to_owned(), wanted: BYTES };
    let (number, unit) = split(text).ok_or_else(bad)?;
    let shift = match unit {
        "B" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return Err(bad()),
    };
    let bytes = number * f64::from(1_u32 << 10).powi(shift / 10);
    if !(0.0..1.8e19).contains(&bytes) {
        return Err(bad());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked, and a part of a byte does not count"
    )]
    Ok(bytes as u64)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_typed() {
        assert_eq!(parse_duration("15secs"), Ok(Duration::from_secs(15)));
        assert_eq!(parse_duration("1.5hrs"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(parse_duration("1weeks"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "15", "secs", "-1secs", "1.2.3secs", "15 parsecs"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_write_in_the_largest_whole_unit() {
        for (secs, text) in [(5, "5secs"), (60, "1mins"), (900, "15mins"), (90, "90secs")] {
            assert_eq!(format_duration(Duration::from_secs(secs)), text);
        }
        assert_eq!(format_duration(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(format_duration(Duration::ZERO), "0ns");
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_bytes("64MB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1.5KB"), Ok(1_536));
        assert_eq!(parse_bytes("0B"), Ok(0));
        assert!(parse_bytes("64M").is_err());
        assert!(parse_bytes("MB").is_err());
    }
}
