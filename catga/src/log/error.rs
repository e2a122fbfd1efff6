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
    Ended,
    TooLarge,
    NotDurable,
    Unusable,
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

    /// Nothing more can be done with the store as it is open now: it lost the log, or broke. Only a new start helps.
    pub fn ended(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::Ended, message: message.to_string() }
    }

    /// The commit is larger than the store takes. Nothing was written.
    pub fn too_large(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::TooLarge, message: message.to_string() }
    }

    /// The store would keep less of what it acknowledges than it must, and so takes nothing. Nothing was written.
    pub fn not_durable(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::NotDurable, message: message.to_string() }
    }

    /// The store answers, or was looked for, and can't be used as it is: a password, a version, an address is wrong.
    /// Trying again does not help.
    pub fn unusable(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::Unusable, message: message.to_string() }
    }

    /// Whether the same call may succeed later by itself.
    pub fn is_unavailable(&self) -> bool {
        self.kind == StoreErrorKind::Unavailable
    }

    /// Whether nothing is written until the store is set to keep it.
    pub fn is_not_durable(&self) -> bool {
        self.kind == StoreErrorKind::NotDurable
    }

    /// Whether every later call fails too, until the store is opened anew.
    pub fn is_ended(&self) -> bool {
        self.kind == StoreErrorKind::Ended
    }

    /// Whether the commit was larger than the store takes.
    pub fn is_too_large(&self) -> bool {
        self.kind == StoreErrorKind::TooLarge
    }
}
