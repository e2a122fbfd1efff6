//! Exact amounts of money: whole numbers in the log, decimals in JSON.

use std::borrow::Cow;

use rust_decimal::{Decimal, prelude::ToPrimitive};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error as _};

use crate::json;

/// How many units make one: amounts have up to four decimals.
const UNITS: i64 = 10_000;

/// An amount in ten-thousandths, so that sums and products are exact. In JSON it is a number, with exact meaning.
///
/// It is read from JSON by [`Money::from_json`], since a service says itself which amounts it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
pub struct Money(i64);

/// Amounts below this have at most 15 digits, and no two such decimals share an `f64`. So the shortest text of the
/// nearest one is the amount.
const EXACT: u64 = 1_000_000_000_000_000;

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            units if !serializer.is_human_readable() => serializer.serialize_i64(units),
            units if units % UNITS == 0 => serializer.serialize_i64(units / UNITS),
            #[expect(clippy::cast_precision_loss, reason = "it is below 2^53")]
            units if units.unsigned_abs() < EXACT => {
                serializer.serialize_f64(units as f64 / UNITS as f64)
            }
            _ => json::exact(self, serializer),
        }
    }
}

impl JsonSchema for Money {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "multipleOf": 0.0001, "description": "An exact decimal" })
    }
}

/// A sum of amounts in ten-thousandths, which may be larger than any [`Money`]. In JSON it is a number, with exact
/// meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MoneySum(pub i128);

impl Serialize for MoneySum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_i128(self.0);
        }
        let sum = Decimal::try_from_i128_with_scale(self.0, 4).map_err(S::Error::custom)?;
        json::exact(&sum.normalize(), serializer)
    }
}

impl JsonSchema for MoneySum {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MoneySum".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Money::json_schema(generator)
    }
}

impl Money {
    /// How many [`units`](Self::units) make one.
    pub const ONE: i64 = UNITS;

    /// The amount that `decimal` (`49.99`, `5e1`) says; `None` when it has more than four decimals or is too large.
    pub fn parse(decimal: &str) -> Option<Self> {
        let amount = match decimal.contains(['e', 'E']) {
            true => Decimal::from_scientific(decimal).ok()?,
            false => Decimal::from_str_exact(decimal).ok()?,
        };
        let units = amount.checked_mul(Decimal::from(UNITS))?;
        units.is_integer().then(|| units.to_i64().map(Self))?
    }

    /// Reads a JSON number of any size, exactly as it was sent; `None` when [`parse`](Self::parse) refuses it, which is
    /// for [`Validate`](catga::Validate) to name: `#[serde(deserialize_with = "Money::from_json")]`.
    ///
    /// # Errors
    /// When it is no number.
    pub fn from_json<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Self>, D::Error> {
        json::number(json).map(Self::parse)
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// This many times the amount; `None` when that is too large.
    pub fn times(self, quantity: u32) -> Option<Self> {
        self.0.checked_mul(i64::from(quantity)).map(Self)
    }

    /// The sum; `None` when it is too large.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// In ten-thousandths.
    pub fn units(self) -> i64 {
        self.0
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Decimal::new(self.0, 4).normalize().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let price = Money::parse("49.99").unwrap();
        assert_eq!(price.times(2).unwrap().to_string(), "99.98");
        for (text, shown) in
            [("0.1", "0.1"), ("10.0000", "10"), ("1e2", "100"), ("-0.5", "-0.5"), ("0", "0")]
        {
            assert_eq!(Money::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["0.00001", "1e30", "922337203685478", "x", "", "1e-9"] {
            assert_eq!(Money::parse(text), None, "{text}");
        }
        assert_eq!(Money::parse("922337203685477").unwrap().times(2), None);
    }

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

    fn check_amount(units: i64) {
        assert_eq!(serde_json::to_string(&Money(units)).unwrap(), Money(units).to_string());
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

    #[derive(Debug, Deserialize, Serialize)]
    struct Line {
        #[serde(deserialize_with = "Money::from_json")]
        price: Option<Money>,
        #[serde(skip_deserializing)]
        sum: MoneySum,
    }

    #[test]
    fn any_number_is_read_and_any_sum_is_written() {
        let line = |price: &str| serde_json::from_str::<Line>(&format!(r#"{{"price":{price}}}"#));
        let price = line("922337203685477.5807").unwrap().price;
        assert_eq!(price, Some(Money(i64::MAX)));
        assert_eq!(line("1e400").unwrap().price, None);
        assert!(line("\"1\"").is_err());
        let sum = i128::from(i64::MAX) * 2;
        let written = serde_json::to_string(&Line { price: None, sum: MoneySum(sum) }).unwrap();
        assert_eq!(written, r#"{"price":null,"sum":1844674407370955.1614}"#);
    }
}
