//! Times as people and JSON write them: RFC 3339 in UTC, as `2026-01-31T12:00:00.25Z`.

const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 60 * 60;

/// A text for a time that has room for all of it.
const ROOM: [u8; 27] = *b"YYYY-MM-DDThh:mm:ss.ffffffZ";

/// Gives a time to `write` as text, mostly without a string of its own: every answer over HTTP has some times.
pub(super) fn with_text<T>(micros: i64, write: impl FnOnce(&str) -> T) -> T {
    let mut text = ROOM;
    match write_time(micros, &mut text).map(std::str::from_utf8) {
        Some(Ok(text)) => write(text),
        _ => write(&jiff_text(micros)),
    }
}

/// A text that is no time in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time in RFC 3339 is expected, as 2026-01-31T12:00:00Z")]
pub struct InvalidTimestamp;

/// The microseconds since 1970 of a time.
///
/// # Errors
/// When it is no time in RFC 3339.
pub(super) fn parse(text: &str) -> Result<i64, InvalidTimestamp> {
    let time: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
    Ok(time.as_microsecond())
}

/// Any time, also one that no calendar has.
fn jiff_text(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

/// Writes a time from 1970 to 9999; what is outside of that is left to jiff.
fn write_time(micros: i64, text: &mut [u8; 27]) -> Option<&[u8]> {
    if !(0..jiff::Timestamp::MAX.as_second() * SECOND).contains(&micros) {
        return None;
    }
    let (seconds, fraction) = (micros / SECOND, micros % SECOND);
    let (days, second) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = date(days);
    for (at, width, number) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
        (20, 6, fraction),
    ] {
        digits(number, &mut text[at..at + width]);
    }
    let is_zero = |digit: &&u8| **digit == b'0';
    let end = match text[20..26].iter().rev().take_while(is_zero).count() {
        6 => 19,
        zeros => 26 - zeros,
    };
    text[end] = b'Z';
    Some(&text[..=end])
}

/// `number` with leading zeros.
fn digits(mut number: i64, text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

/// Year, month and day, so many days after 1970-01-01. Years are reckoned from March, so that a leap day is a year's last
/// (Hinnant, [chrono-compatible date algorithms](https://howardhinnant.github.io/date_algorithms.html)).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Timestamp;

    /// Numbers of every size and sign, the same in each run.
    fn numbers() -> impl Iterator<Item = i64> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            Some(state)
        };
        std::iter::from_fn(next).take(200_000).map(|n| n.cast_signed() >> (n % 64))
    }

    fn check_time(micros: i64) {
        let written = serde_json::to_string(&Timestamp::from_micros(micros)).unwrap();
        assert_eq!(written, format!("\"{}\"", jiff_text(micros)), "{micros}");
    }

    #[test]
    fn times_are_written_as_jiff_does() {
        for edge in
            [0, jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond()]
        {
            (-3..=3).for_each(|near| check_time(edge + near));
        }
        [i64::MIN, i64::MAX].into_iter().chain(numbers()).for_each(check_time);
        // Each number of decimals, on each day from before 1970 to after 2400 and around its ends.
        for day in -800..160_000 {
            for micros in [-1, 0, 1, 10, 1200, 500_000, 86_399_999_990] {
                check_time(day * DAY * SECOND + micros);
            }
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for micros in [0, 1, -1, 1_700_000_000_000_000, 253_402_207_199_999_999] {
            let time = Timestamp::from_micros(micros);
            assert_eq!(time.to_string().parse(), Ok(time));
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(json, format!("\"{time}\""));
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
            // In the log it is a number, as it always was.
            let stored = postcard::to_stdvec(&time).unwrap();
            assert_eq!(stored, postcard::to_stdvec(&micros).unwrap());
            assert_eq!(postcard::from_bytes::<Timestamp>(&stored).unwrap(), time);
        }
        for text in ["", "yesterday", "2026-01-31", "2026-01-31T12:00:00"] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }
}
