//! What is stored, as the server answers it.

use bytes::Bytes;
use redis::Value;

use crate::{Position, Record, StoreError};

/// The field of an entry that an older program wrote: the position of the commit's first event, and the frame.
const WITH_POSITION: &[u8] = b"c";

pub(super) fn unreadable() -> StoreError {
    StoreError::corrupt("Redis holds what catga did not write there")
}

pub(super) fn array(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(unreadable()),
    }
}

/// Two numbers.
pub(super) fn pair(value: &Value) -> Option<(u64, u64)> {
    let Value::Array(values) = value else { return None };
    let [Value::Int(a), Value::Int(b)] = values[..] else { return None };
    Some((a.try_into().ok()?, b.try_into().ok()?))
}

/// A commit of a stream: an entry of the log, or the commit itself, as older programs kept it in the list too.
pub(super) fn commit(value: Value) -> Result<Record, StoreError> {
    match value {
        Value::Array(_) => Ok(log_entry(value)?.1),
        value => with_position(value),
    }
}

/// The position in the id of an entry of the log, which is that of the commit's last event, and the commit.
pub(super) fn log_entry(entry: Value) -> Result<(Position, Record), StoreError> {
    let mut entry = array(entry)?.into_iter();
    let (Some(Value::BulkString(id)), Some(fields)) = (entry.next(), entry.next()) else {
        return Err(unreadable());
    };
    let end = id.strip_prefix(b"0-").and_then(number).ok_or_else(unreadable)?;
    let mut fields = array(fields)?.into_iter();
    let (Some(Value::BulkString(name)), Some(value)) = (fields.next(), fields.next()) else {
        return Err(unreadable());
    };
    if name == WITH_POSITION {
        return Ok((end, with_position(value)?));
    }
    let (events, Value::BulkString(frame)) = (number(&name), value) else {
        return Err(unreadable());
    };
    let position =
        events.and_then(|events| (end + 1).checked_sub(events)).ok_or_else(unreadable)?;
    Ok((end, Record { position, token: 0, frame: frame.into() }))
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn with_position(commit: Value) -> Result<Record, StoreError> {
    let (position, frame) = split_number(commit)?;
    Ok(Record { position, token: 0, frame })
}

/// The eight bytes of a number, and what follows them.
pub(super) fn split_number(value: Value) -> Result<(u64, Bytes), StoreError> {
    let Value::BulkString(bytes) = value else { return Err(unreadable()) };
    let number = *bytes.first_chunk().ok_or_else(unreadable)?;
    Ok((u64::from_be_bytes(number), Bytes::from(bytes).slice(8..)))
}
