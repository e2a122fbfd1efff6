//! Where an event is: its version in its stream, and its position in the log.

use std::{
    cmp::Ordering,
    fmt,
    ops::{Add, AddAssign, Sub},
};

use serde::{Deserialize, Serialize};

/// A number of its own kind: it takes distances (`u64`), and does not mix with the other kind.
macro_rules! coordinate {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Before the first event.
            pub const ZERO: Self = Self(0);

            /// That of the first event there can be.
            pub const FIRST: Self = Self(1);

            /// Behind every event.
            pub const MAX: Self = Self(u64::MAX);

            /// The number as a
            #[doc = concat!("`", stringify!($name), "`.")]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The bare number, for where numbers are stored, sent or shown.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one right after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// How far this is behind `earlier`; 0 when it is not behind it.
            pub const fn saturating_sub(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        /// The bare number, as [`Display`](fmt::Display) shows it.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Add<u64> for $name {
            type Output = Self;

            fn add(self, distance: u64) -> Self {
                Self(self.0 + distance)
            }
        }

        impl AddAssign<u64> for $name {
            fn add_assign(&mut self, distance: u64) {
                self.0 += distance;
            }
        }

        impl Sub<u64> for $name {
            type Output = Self;

            fn sub(self, distance: u64) -> Self {
                Self(self.0 - distance)
            }
        }

        /// The distance between the two.
        impl Sub for $name {
            type Output = u64;

            fn sub(self, earlier: Self) -> u64 {
                self.0 - earlier.0
            }
        }

        /// A bare number compares with both kinds, so that tests and limits can be written as numbers. The two
        /// kinds do not compare with each other.
        impl PartialEq<u64> for $name {
            fn eq(&self, number: &u64) -> bool {
                self.0 == *number
            }
        }

        /// As for `PartialEq<u64>`.
        impl PartialOrd<u64> for $name {
            fn partial_cmp(&self, number: &u64) -> Option<Ordering> {
                self.0.partial_cmp(number)
            }
        }
    };
}

coordinate! {
    /// A place in one stream: 1 is its first event, 0 means that the stream does not exist.
    ///
    /// It is a type of its own, so that it is never taken for a [`Position`]:
    ///
    /// ```compile_fail,E0308
    /// let version: catga::log::Version = catga::log::Position::new(1);
    /// ```
    ///
    /// ```compile_fail,E0277
    /// let is_same = catga::log::Version::new(1) == catga::log::Position::new(1);
    /// ```
    Version
}

coordinate! {
    /// A place in the whole log.
    ///
    /// Positions rise strictly, one per event, also within a commit; numbers may be missing. They are opaque but
    /// comparable, and stay under 2^53 so that JSON numbers hold them. 0 is before the first event.
    ///
    /// It is a type of its own, so that it is never taken for a [`Version`]:
    ///
    /// ```compile_fail,E0308
    /// let position: catga::log::Position = catga::log::Version::new(1);
    /// ```
    Position
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_stored_and_shown_as_the_bare_number() {
        for number in [0, 1, 300, u64::MAX] {
            let (version, position) = (Version::new(number), Position::new(number));
            let bytes = postcard::to_stdvec(&number).unwrap();
            assert_eq!(postcard::to_stdvec(&version).unwrap(), bytes);
            assert_eq!(postcard::to_stdvec(&position).unwrap(), bytes);
            assert_eq!(postcard::from_bytes::<Version>(&bytes).unwrap(), version);
            assert_eq!(postcard::from_bytes::<Position>(&bytes).unwrap(), position);
            let json = number.to_string();
            assert_eq!(
                serde_json::to_string(&(version, position)).unwrap(),
                format!("[{json},{json}]")
            );
            assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), version);
            assert_eq!((version.to_string(), format!("{version:?}")), (json.clone(), json));
        }
    }

    #[test]
    fn distances_are_numbers() {
        let mut position = Position::new(3);
        position += 2;
        assert_eq!(position, 5);
        assert_eq!(
            (position.next(), position + 2, position - 5),
            (6.into(), 7.into(), Position::ZERO)
        );
        assert_eq!((position - Position::new(2), Position::ZERO.saturating_sub(position)), (3, 0));
        assert!(position < 6 && position > 4);
    }
}
