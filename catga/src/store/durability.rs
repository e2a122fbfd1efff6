//! What an acknowledged commit survives (P2).

use std::{fmt, str::FromStr};

/// Gauge: 1 while appends are refused, as the store would keep less than it must. Label: `store`.
pub(crate) const NOT_DURABLE: &str = "catga_durability_lost";

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
#[error("{}", Self::ALLOWED)]
pub struct UnknownDurability;

impl UnknownDurability {
    /// Which texts do.
    pub const ALLOWED: &str = "memory, seconds, process-crash and power-loss are allowed";
}

/// What an acknowledged commit survives on the live store, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityReport {
    /// What it survives.
    pub level: Durability,
    /// The settings that were read, in the store's own words: name and value.
    pub settings: Vec<(&'static str, String)>,
    /// What keeps the level down and how to raise it, when the store knows.
    pub advice: Option<String>,
    /// Why the store takes no append now, if so: it would keep less than it must.
    pub refusal: Option<String>,
}

impl DurabilityReport {
    /// Why this is less than `required`; `None` when it is not.
    pub fn shortfall(&self, required: Durability) -> Option<String> {
        if self.level >= required {
            return None;
        }
        let mut text = format!(
            "an acknowledged command would survive {}, and {required} is required",
            self.level
        );
        if let Some(advice) = &self.advice {
            text += &format!(": {advice}");
        }
        let settings: Vec<_> =
            self.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        if !settings.is_empty() {
            text += &format!(" (now {})", settings.join(", "));
        }
        Some(text)
    }
}

impl From<Durability> for DurabilityReport {
    fn from(level: Durability) -> Self {
        Self { level, settings: Vec::new(), advice: None, refusal: None }
    }
}
