//! What event handlers did outside the log, compared with the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use crate::history::Stored;

/// What an event handler did: order and version, in the order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects(Vec<(String, u64)>);

impl Effects {
    /// Those that are known.
    pub fn of(all: Vec<(String, u64)>) -> Self {
        Self(all)
    }

    /// What `order-log` wrote to the nodes' logs in `directory`.
    ///
    /// # Panics
    /// When they can't be read.
    pub fn read(directory: &Path) -> Self {
        let mut lines = BTreeMap::new();
        for file in std::fs::read_dir(directory).expect("the directory can be read") {
            let path = file.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("the log can be read");
            for (at, line) in text.lines().enumerate() {
                // A killed node may have left half a line.
                let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
                let fields = &line["fields"];
                if fields["message"] == "an order changed" {
                    let order = fields["order"].as_str().expect("an order").to_owned();
                    let version = fields["version"].as_u64().expect("a version");
                    let time = line["timestamp"].as_str().expect("a time").to_owned();
                    lines.insert((time, path.clone(), at), (order, version));
                }
            }
        }
        Self(lines.into_values().collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What breaks P7: an event of `log` without an effect, an effect without its event, and one that came before that
    /// of the event before it.
    pub fn violations(&self, log: &[Stored]) -> Vec<String> {
        let mut violations = Vec::new();
        let mut done: BTreeMap<&str, u64> = BTreeMap::new();
        for (order, version) in &self.0 {
            let last = done.entry(order).or_default();
            if *version > *last + 1 {
                violations.push(format!("{order}: version {version} came right after {last}"));
            }
            *last = (*last).max(*version);
        }
        let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
        for stored in log {
            let end = ends.entry(&stored.sent.stream).or_default();
            *end = (*end).max(stored.first_version.get() + stored.sent.events - 1);
        }
        for (order, end) in &ends {
            let last = done.get(order).copied().unwrap_or(0);
            if last != *end {
                violations.push(format!("{order}: handled up to {last} of {end}"));
            }
        }
        let unknown = done.keys().filter(|order| !ends.contains_key(*order));
        violations.extend(unknown.map(|order| format!("{order}: handled, and not in the log")));
        violations
    }

    /// How many effects were made again.
    pub fn repeats(&self) -> usize {
        self.0.len() - self.0.iter().collect::<BTreeSet<_>>().len()
    }

    /// The same effects, changed by `change`: to see what the check finds.
    #[must_use]
    pub fn changed(&self, change: impl FnOnce(&mut Vec<(String, u64)>)) -> Self {
        let mut effects = self.clone();
        change(&mut effects.0);
        effects
    }
}
