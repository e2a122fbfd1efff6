//! Times and amounts, written into JSON without a string of their own: every answer has some.

use catga::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::money::Money;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 60 * 60;

/// A time in RFC 3339, UTC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let micros = self.0.as_micros();
        let mut text = *b"YYYY-MM-DDThh:mm:ss.ffffffZ";
        match write_time(micros, &mut text).map(std::str::from_utf8) {
            Some(Ok(text)) => json.serialize_str(text),
            _ => json.serialize_str(&jiff_text(micros)),
        }
    }
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

/// An amount as an exact number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exact(pub(super) Money);

/// Amounts below this, in ten-thousandths, have at most 15 digits, and no two such decimals share an `f64`. So the
/// shortest text of the nearest one is the amount.
const EXACT: u64 = 1_000_000_000_000_000;

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let units = self.0.units();
        if units % Money::ONE == 0 {
            return json.serialize_i64(units / Money::ONE);
        }
        if units.unsigned_abs() < EXACT {
            #[expect(clippy::cast_precision_loss, reason = "it is below 2^53")]
            return json.serialize_f64(units as f64 / Money::ONE as f64);
        }
        exact(self.0).serialize(json)
    }
}

/// A number exactly as `decimal` is written.
pub(super) fn exact(decimal: impl ToString) -> Box<RawValue> {
    RawValue::from_string(decimal.to_string()).expect("a decimal is a JSON number")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let written = serde_json::to_string(&Time(Timestamp::from_micros(micros))).unwrap();
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

    fn check_amount(units: i64) {
        let money: Money = serde_json::from_str(&units.to_string()).unwrap();
        let written = serde_json::to_string(&Exact(money)).unwrap();
        assert_eq!(written, money.to_string(), "{units}");
    }

    #[test]
    fn amounts_are_written_as_decimals() {
        [i64::MIN, i64::MAX].into_iter().chain(-20_001..=20_001).for_each(check_amount);
        for units in numbers() {
            for decimals in [1, 10, 100, 1000, 10_000] {
                check_amount(units / decimals * decimals);
            }
        }
        let edge = i64::try_from(EXACT).unwrap();
        (edge - 1000..edge + 1000).for_each(check_amount);
    }
}
