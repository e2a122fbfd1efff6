//! What an acknowledged commit survives (P2).

use std::{fmt, str::FromStr};

/// What an acknowledged commit survives (P2), from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// It is gone with the process.
    Memory,
    /// A crash may take the last seconds.
    Seconds,
    /// It survives the kill of every process, not a power cut.
    ProcessCrash,
    /// It survives a power cut.
    PowerLoss,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Seconds => "seconds",
            Self::ProcessCrash => "process-crash",
            Self::PowerLoss => "power-loss",
        })
    }
}

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, UnknownDurability> {
        let all = [Self::Memory, Self::Seconds, Self::ProcessCrash, Self::PowerLoss];
        all.into_iter().find(|level| level.to_string() == text).ok_or(UnknownDurability)
    }
}

/// A text that names no [`Durability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("memory, seconds, process-crash and power-loss are allowed")]
pub struct UnknownDurability;

/// What an acknowledged commit survives on the live store, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityReport {
    /// What it survives.
    pub level: Durability,
    /// The settings that were read, in the store's own words: name and value.
    pub settings: Vec<(&'static str, String)>,
    /// What keeps the level down and how to raise it, when the store knows.
    pub advice: Option<String>,
}

impl From<Durability> for DurabilityReport {
    fn from(level: Durability) -> Self {
        Self { level, settings: Vec::new(), advice: None }
    }
}
