//! What is published, and how that can end: what the topic and its publishers share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::log::StoreError;

/// What is to be published, if the last message is the one that `after` says.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    pub(super) after: After,
}

/// The message that must be the last one, by its sequence; 0 when there must be none.
#[derive(Debug, Clone, Copy)]
pub(super) enum After {
    /// Of the same subject.
    OnSubject(u64),
    /// Of the whole stream.
    Message(u64),
    /// Whichever it is.
    Any,
}

/// Where a message is stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) sequence: u64,
    /// How many messages the batch had that it is the last one of.
    pub(super) batch: Option<u64>,
}

/// Why a message was not stored, or not for sure.
#[derive(Debug)]
pub(super) enum NotPublished {
    /// Another message is the last one.
    Conflict,
    Refused(StoreError),
    Unknown(StoreError),
}

pub(super) fn unavailable(what: &str, error: impl std::error::Error) -> StoreError {
    tracing::debug!(%error, "a request to {what} failed");
    StoreError::unavailable(format!("{what} does not answer as it should: {error}"))
}

pub(super) fn connection_lost() -> StoreError {
    StoreError::unavailable("the connection to NATS was lost")
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
