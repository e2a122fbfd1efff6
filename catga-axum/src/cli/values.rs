//! What flags take: parsers of their values, whose errors say what is allowed.

use std::{net::IpAddr, time::Duration};

use catga::{
    log::Position,
    store::{DurabilitySet, UnknownDurability},
};

/// What a flag takes: the error of a value that it does not take.
///
/// Of all errors of parsers, usage errors show only this, as it can't repeat the value, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Allowed(pub &'static str);

pub(super) fn host(text: &str) -> Result<String, Allowed> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let is_name = (1..=253).contains(&bare.len())
        && bare.starts_with(|c: char| c.is_ascii_alphanumeric())
        && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    match is_name || bare.parse::<IpAddr>().is_ok() {
        true => Ok(bare.to_owned()),
        false => Err(Allowed("an IP address or the name of a host is allowed")),
    }
}

pub(super) fn port(text: &str) -> Result<u16, Allowed> {
    text.parse().map_err(|_| Allowed("0 to 65535 are allowed"))
}

pub(super) fn seconds(text: &str) -> Result<Duration, Allowed> {
    match text.parse() {
        Ok(seconds @ 0..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(Allowed("0 to 3600 seconds are allowed")),
    }
}

pub(super) fn positive_seconds(text: &str) -> Result<Duration, Allowed> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(Allowed("1 to 3600 seconds are allowed")),
    }
}

pub(super) fn position(text: &str) -> Result<Position, Allowed> {
    match text.parse() {
        Ok(position @ 1..) => Ok(Position::from(position)),
        _ => Err(Allowed("a position of the log, 1 or more, is allowed")),
    }
}

pub(super) fn reason(text: &str) -> Result<String, Allowed> {
    let text = text.trim();
    match text.chars().count() {
        1..=1000 => Ok(text.to_owned()),
        _ => Err(Allowed("1 to 1000 characters are allowed")),
    }
}

pub(super) fn durability(text: &str) -> Result<DurabilitySet, Allowed> {
    text.parse().map_err(|UnknownDurability| Allowed(UnknownDurability::ALLOWED))
}

#[cfg(feature = "nats")]
pub(super) fn replicas(text: &str) -> Result<usize, Allowed> {
    match text.parse() {
        Ok(replicas @ (1 | 3 | 5)) => Ok(replicas),
        _ => Err(Allowed("1, 3 or 5 are allowed")),
    }
}

pub(super) fn name(text: &str) -> Result<String, Allowed> {
    match catga::log::StreamId::new("node", text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Allowed("1 to 64 of A-Z a-z 0-9 _ - are allowed")),
    }
}
