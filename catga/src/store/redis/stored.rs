//! What is stored, as the server answers it.

use bytes::Bytes;
use redis::Value;

use crate::log::{Position, Record, StoreError};

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

/// The position in the id of an entry of the log, which is that of the commit's last event, and the commit.
pub(super) fn log_entry(entry: Value) -> Result<(Position, Record), StoreError> {
    let mut entry = array(entry)?.into_iter();
    let (Some(Value::BulkString(id)), Some(fields)) = (entry.next(), entry.next()) else {
        return Err(unreadable());
    };
    let mut fields = array(fields)?.into_iter();
    let (Some(Value::BulkString(field)), Some(value)) = (fields.next(), fields.next()) else {
        return Err(unreadable());
    };
    Ok((end(&id)?, commit(&id, &field, value)?))
}

/// The commit of an entry with this id and field.
pub(super) fn commit(id: &[u8], field: &[u8], value: Value) -> Result<Record, StoreError> {
    if field == WITH_POSITION {
        let (position, frame) = split_number(value)?;
        return Ok(Record { position: position.into(), token: 0, frame });
    }
    let (Some(events), Value::BulkString(frame)) = (number(field), value) else {
        return Err(unreadable());
    };
    let position = end(id)?.next().get().checked_sub(events).ok_or_else(unreadable)?;
    Ok(Record { position: position.into(), token: 0, frame: frame.into() })
}

fn end(id: &[u8]) -> Result<Position, StoreError> {
    id.strip_prefix(b"0-").and_then(number).map(Position::new).ok_or_else(unreadable)
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// The eight bytes of a number, and what follows them.
pub(super) fn split_number(value: Value) -> Result<(u64, Bytes), StoreError> {
    let Value::BulkString(bytes) = value else { return Err(unreadable()) };
    let number = *bytes.first_chunk().ok_or_else(unreadable)?;
    Ok((u64::from_be_bytes(number), Bytes::from(bytes).slice(8..)))
}
