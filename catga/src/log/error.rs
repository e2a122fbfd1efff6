//! What a store can answer instead of what it was asked for.

use std::fmt;

/// A store that can't be reached, did not answer in time, or holds what it should not.
///
/// The text never shows an address, a password or a path: those go to the log only.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreErrorKind {
    Unavailable,
    Corrupt,
    TooLarge,
}

impl StoreError {
    /// The store can't be reached or did not answer in time. Worth trying again.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::Unavailable, message: message.to_string() }
    }

    /// The store holds bytes that it can't have been given. Trying again does not help.
    pub fn corrupt(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::Corrupt, message: message.to_string() }
    }

    /// The commit is larger than the store takes. Nothing was written.
    pub fn too_large(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::TooLarge, message: message.to_string() }
    }

    /// Whether the same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        self.kind == StoreErrorKind::Unavailable
    }

    /// Whether the commit was larger than the store takes.
    pub fn is_too_large(&self) -> bool {
        self.kind == StoreErrorKind::TooLarge
    }
}
