//! Exact amounts of money.

use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};

/// How many units make one: amounts have up to four decimals.
const UNITS: i64 = 10_000;

/// An amount in ten-thousandths, so that sums and products are exact.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Money(i64);

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
}
