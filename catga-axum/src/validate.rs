//! Checks of fields, for [`Validate`](catga::Validate).

use std::{fmt::Display, ops::RangeInclusive};

use catga::FieldError;

use crate::Money;

/// What is wrong with a text that people write: it is to have 1 to `longest` characters, not all blank, and none of
/// them a control character.
pub fn text(field: impl Display, value: &str, longest: usize) -> Option<FieldError> {
    let is_allowed = !value.chars().all(is_blank)
        && value.chars().count() <= longest
        && !value.chars().any(char::is_control);
    let rule = "characters are allowed, not all blank, none of them control characters";
    check(field, is_allowed, format_args!("1 to {longest} {rule}"))
}

/// Whether nothing shows of a character that is no control character: white space, or one of no width.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}')
}

/// What is wrong with a number that is not in the range `allowed`, or was none to begin with.
pub fn range<T: PartialOrd + Display>(
    field: impl Display,
    value: Option<T>,
    allowed: RangeInclusive<T>,
) -> Option<FieldError> {
    let is_allowed = value.is_some_and(|value| allowed.contains(&value));
    check(field, is_allowed, format_args!("{} to {} are allowed", allowed.start(), allowed.end()))
}

/// What is wrong with a list of `items` items, when that many are not `allowed`.
pub fn count(
    field: impl Display,
    items: usize,
    allowed: RangeInclusive<usize>,
) -> Option<FieldError> {
    let (least, most) = (allowed.start(), allowed.end());
    let rule = format_args!("{least} to {most} items are allowed");
    check(field, allowed.contains(&items), rule)
}

/// What is wrong with an amount that is negative, or was none to begin with.
pub fn amount(field: impl Display, value: Option<Money>) -> Option<FieldError> {
    let is_allowed = value.is_some_and(|amount| !amount.is_negative());
    check(field, is_allowed, "an amount of 0 or more with at most 4 decimals is allowed")
}

/// What is wrong with a field that is not allowed: `rule` says what is.
pub fn check(field: impl Display, is_allowed: bool, rule: impl Display) -> Option<FieldError> {
    (!is_allowed).then(|| FieldError::new(field.to_string(), rule.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_characters_that_show() {
        let is_allowed = |value: &str| text("name", value, 3).is_none();
        assert!(
            is_allowed("abc") && is_allowed("äöü") && is_allowed(" a ") && is_allowed("\u{FEFF}a")
        );
        for value in ["", "   ", "abcd", "a\nb", "\0", "\u{FEFF}", "\u{A0}\u{200B}\u{2060}"] {
            assert!(!is_allowed(value), "{value:?}");
        }
    }

    #[test]
    fn a_range_holds_its_ends() {
        let is_allowed = |value| range("quantity", value, 1..=3).is_none();
        assert!(is_allowed(Some(1)) && is_allowed(Some(3)));
        assert!(!is_allowed(Some(0)) && !is_allowed(Some(4)));
        let error = FieldError::new("items[2].quantity", "1 to 3 are allowed");
        assert_eq!(range(format_args!("items[{}].quantity", 2), None, 1..=3), Some(error));
    }

    #[test]
    fn lists_have_some_items_and_amounts_are_not_negative() {
        let is_allowed = |items| count("items", items, 1..=3).is_none();
        assert!(is_allowed(1) && is_allowed(3) && !is_allowed(0) && !is_allowed(4));
        let error = FieldError::new("items", "1 to 3 items are allowed");
        assert_eq!(count("items", 0, 1..=3), Some(error));
        let is_allowed = |text| amount("price", Money::parse(text)).is_none();
        assert!(is_allowed("0") && is_allowed("0.0001"));
        assert!(!is_allowed("-0.0001") && !is_allowed("0.00001"));
    }
}
