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

/// A text that names no [`Durability`], or no [`DurabilitySet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", Self::ALLOWED)]
pub struct UnknownDurability;

impl UnknownDurability {
    /// Which texts do.
    pub const ALLOWED: &str = "memory, seconds, process-crash and power-loss are allowed, and server-loss, alone or behind a comma";
}

/// The end of one server for good, with its disk. Only a copy on others survives that, whatever each of them is set to.
const SERVER_LOSS: &str = "server-loss";

/// All that an acknowledged commit survives, or must: as text, `power-loss` or `process-crash,server-loss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurabilitySet {
    /// What it survives while no server is lost.
    pub level: Durability,
    /// Whether it survives the end of one server for good, with its disk.
    pub server_loss: bool,
}

impl DurabilitySet {
    fn includes(self, other: Self) -> bool {
        self.level >= other.level && self.server_loss >= other.server_loss
    }
}

impl From<Durability> for DurabilitySet {
    fn from(level: Durability) -> Self {
        Self { level, server_loss: false }
    }
}

impl fmt::Display for DurabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.level.fmt(f)?;
        if self.server_loss { write!(f, ",{SERVER_LOSS}") } else { Ok(()) }
    }
}

impl FromStr for DurabilitySet {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, UnknownDurability> {
        let server_loss = text == SERVER_LOSS;
        let (level, server_loss) = match text.split_once(',') {
            None if server_loss => (Durability::Memory, true),
            None => (text.parse()?, false),
            Some((SERVER_LOSS, level) | (level, SERVER_LOSS)) => (level.parse()?, true),
            Some(_) => return Err(UnknownDurability),
        };
        Ok(Self { level, server_loss })
    }
}

/// What an acknowledged commit survives on the live store, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityReport {
    /// What it survives while no server is lost.
    pub level: Durability,
    /// Whether it survives the end of one server for good, with its disk.
    pub server_loss: bool,
    /// The settings that were read, in the store's own words: name and value.
    pub settings: Vec<(&'static str, String)>,
    /// What keeps the level down and how to raise it, when the store knows.
    pub advice: Option<String>,
    /// Why the store takes no append now, if so: it would keep less than it must.
    pub refusal: Option<String>,
}

impl DurabilityReport {
    /// All that it survives.
    pub fn survives(&self) -> DurabilitySet {
        DurabilitySet { level: self.level, server_loss: self.server_loss }
    }

    /// Why this is less than `required`; `None` when it is not.
    pub fn shortfall(&self, required: impl Into<DurabilitySet>) -> Option<String> {
        let (survives, required) = (self.survives(), required.into());
        if survives.includes(required) {
            return None;
        }
        let mut text =
            format!("an acknowledged command would survive {survives}, and {required} is required");
        if required.server_loss && !self.server_loss {
            text += ": no other server keeps it";
        }
        if let Some(advice) = self.advice.as_ref().filter(|_| self.level < required.level) {
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
        Self { level, server_loss: false, settings: Vec::new(), advice: None, refusal: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_written_as_it_is_read_and_includes_what_is_less() {
        let set = |text: &str| text.parse::<DurabilitySet>();
        for (text, shown) in [
            ("power-loss", "power-loss"),
            ("process-crash,server-loss", "process-crash,server-loss"),
            ("server-loss,power-loss", "power-loss,server-loss"),
            ("server-loss", "memory,server-loss"),
        ] {
            assert_eq!(set(text).unwrap().to_string(), shown);
        }
        for text in ["", ",", "much", "server-loss,", "power-loss,seconds", "seconds,server-loss,x"]
        {
            assert!(set(text).is_err(), "{text}");
        }
        let report = DurabilityReport { server_loss: true, ..Durability::ProcessCrash.into() };
        for (required, has_shortfall) in [
            ("process-crash,server-loss", false),
            ("seconds", false),
            ("server-loss", false),
            ("power-loss", true),
            ("power-loss,server-loss", true),
        ] {
            assert_eq!(report.shortfall(set(required).unwrap()).is_some(), has_shortfall);
        }
        let shortfall =
            DurabilityReport::from(Durability::PowerLoss).shortfall(set("server-loss").unwrap());
        assert!(shortfall.is_some_and(|text| text.contains("no other server keeps it")));
    }
}
