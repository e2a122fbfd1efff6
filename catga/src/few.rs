//! A list that is mostly of one: what a command records, and so what a commit holds. One is kept in place, so that the
//! hot paths allocate nothing for it.

use std::{fmt, ops::Deref};

/// Some values in order. It derefs to a slice; it is made from a `Vec` or by `collect`.
#[derive(Clone)]
pub struct Few<T>(Kept<T>);

#[derive(Clone)]
enum Kept<T> {
    One(T),
    /// None, or more than one; one, if it came in a `Vec`.
    Many(Vec<T>),
}

impl<T> Few<T> {
    /// None.
    pub const fn new() -> Self {
        Self(Kept::Many(Vec::new()))
    }

    /// Adds one at the end.
    pub fn push(&mut self, value: T) {
        match std::mem::take(self).0 {
            Kept::Many(values) if values.is_empty() => self.0 = Kept::One(value),
            Kept::Many(mut values) => {
                values.push(value);
                self.0 = Kept::Many(values);
            }
            Kept::One(first) => self.0 = Kept::Many(vec![first, value]),
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Kept::One(value) => std::slice::from_ref(value),
            Kept::Many(values) => values,
        }
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(values: Vec<T>) -> Self {
        Self(Kept::Many(values))
    }
}

impl<T> From<[T; 1]> for Few<T> {
    fn from([value]: [T; 1]) -> Self {
        Self(Kept::One(value))
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut few = Self::new();
        values.into_iter().for_each(|value| few.push(value));
        few
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        match self.0 {
            Kept::One(value) => vec![value].into_iter(),
            Kept::Many(values) => values.into_iter(),
        }
    }
}

impl<'f, T> IntoIterator for &'f Few<T> {
    type Item = &'f T;
    type IntoIter = std::slice::Iter<'f, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T: fmt::Debug> fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_list_that_was_put_in() {
        for length in 0..5 {
            let values: Vec<_> = (0..length).collect();
            let few: Few<_> = values.iter().copied().collect();
            assert_eq!(*few, *values);
            assert_eq!(few, Few::from(values));
        }
        assert_eq!(*Few::from([7]), [7]);
    }
}
