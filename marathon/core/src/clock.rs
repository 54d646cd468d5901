//! Wall-clock moments as the API writes them: UTC, three fractional digits, `Z`.

use model::step::Timestamp;

const DAY_MS: u64 = 86_400_000;

/// Writes `at`, cut to milliseconds: `2019-04-02T09:08:07.000Z`.
pub fn format(at: Timestamp) -> String {
    let ms = at.0 / 1_000;
    let (year, month, day) = civil(ms / DAY_MS);
    let in_day = ms % DAY_MS;
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Reads an ISO 8601 date-time with any offset; absent when `text` is none.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-');
    let year: u64 = date.next()?.parse().ok()?;
    let month: u64 = date.next()?.parse().ok()?;
    let day: u64 = date.next()?.parse().ok()?;
    let offset_at = time.find(['Z', '+', '-'])?;
    let (clock, offset) = time.split_at(offset_at);
    let offset_minutes = match offset {
        "Z" => 0,
        _ => offset_minutes(offset)?,
    };
    let mut clock = clock.splitn(3, ':');
    let hour: u64 = clock.next()?.parse().ok()?;
    let minute: u64 = clock.next()?.parse().ok()?;
    let second = clock.next().unwrap_or("0");
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let (second, micros): (u64, u64) = (second.parse().ok()?, micros(fraction)?);
    if !(1970..=9_999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    let micros_utc = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let total = i128::from(micros_utc) * 1_000_000 + i128::from(micros)
        - i128::from(offset_minutes) * 60_000_000;
    u64::try_from(total).ok().map(Timestamp)
}

fn micros(fraction: &str) -> Option<u64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<6}")[..6].parse().ok()
}

fn offset_minutes(offset: &str) -> Option<i64> {
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits = offset[1..].replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (digits.parse::<i64>().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes))
}

/// Year, month and day of the `days`th day since 1970-01-01, by 400-year eras that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_written_with_three_digits() {
        assert_eq!(format(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(format(Timestamp(1_554_196_087_004_999)), "2019-04-02T09:08:07.004Z");
        assert_eq!(format(Timestamp(1_582_934_400_000_000)), "2020-02-29T00:00:00.000Z");
    }

    #[test]
    fn any_offset_is_read() {
        let at = Some(Timestamp(1_554_196_087_000_000));
        for text in [
            "2019-04-02T09:08:07Z",
            "2019-04-02T09:08:07.000Z",
            "2019-04-02T11:08:07.000000+02:00",
            "2019-04-02T04:38:07-0430",
        ] {
            assert_eq!(parse(text), at, "{text}");
        }
        for bad in ["", "latest", "2019-04-02", "2019-13-02T00:00:00Z", "2019-04-02T09:08:07"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in 0_u64..4_000_000_000_000) {
            let at = Timestamp(ms * 1_000);
            prop_assert_eq!(parse(&format(at)), Some(at));
        }
    }
}
