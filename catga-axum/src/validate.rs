//! Checks of fields, for [`Validate`](catga::Validate).

use std::fmt::Display;

use catga::FieldError;

/// What is wrong with a text that people write: it is to have 1 to `longest` characters, not all blank, and none of
/// them a control character.
pub fn text(field: impl Display, value: &str, longest: usize) -> Option<FieldError> {
    let is_allowed = !value.trim().is_empty()
        && value.chars().count() <= longest
        && !value.chars().any(char::is_control);
    let message = || {
        format!(
            "1 to {longest} characters are allowed, not all blank, none of them control characters"
        )
    };
    (!is_allowed).then(|| FieldError::new(field.to_string(), message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_characters_that_show() {
        let is_allowed = |value: &str| text("name", value, 3).is_none();
        assert!(is_allowed("abc") && is_allowed("äöü") && is_allowed(" a "));
        for value in ["", "   ", "abcd", "a\nb", "\0"] {
            assert!(!is_allowed(value), "{value:?}");
        }
    }
}
