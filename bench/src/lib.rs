//! What catga costs. Each program in `src/bin` measures values beside limits: what the same machine does in the same
//! run when nothing of catga is in the way. The rounds of both alternate, for the machines are shared and drift; a
//! row is the median of the rounds.

pub mod load;
pub mod plot;
pub mod server;

use std::{fmt, fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things a second: more is better, and the ratio is value over limit.
    PerSecond,
    /// Nanoseconds a thing: less is better.
    Nanoseconds,
    /// Bytes: less is better.
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Nanoseconds => "ns",
            Self::Bytes => "B",
        }
    }
}

/// What a ratio has to be, to be good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reach {
    /// This much of the limit, at least.
    AtLeast(f64),
    /// This much of the limit, at most.
    AtMost(f64),
    /// Nothing is asked of it: it explains others.
    Shown,
}

/// A table of a program's rows, which is printed line by line and kept in `target/bench/NAME.json`.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    rows: Vec<Value>,
}

impl Table {
    /// An empty one. `about` says what was measured: durability, clients, sizes.
    pub fn new(name: &'static str, about: &str) -> Self {
        println!("{name}: {about}");
        println!(
            "{:<58} {:>12} {:>12} {:>4} {:>7} {:>7}",
            "", "value", "limit", "", "ratio", "spread"
        );
        Self { name, rows: Vec::new() }
    }

    /// Adds what came of the rounds of a value and its limit.
    ///
    /// # Panics
    /// When there were no rounds.
    pub fn row(&mut self, what: impl fmt::Display, unit: Unit, rounds: &Rounds, reach: Reach) {
        let what = what.to_string();
        let (value, limit) = (median(&rounds.values), median(&rounds.limits));
        let (ratio, spread) = (rounds.ratio(), rounds.spread());
        let (is_met, text) = match reach {
            Reach::AtLeast(wanted) => (ratio >= wanted, format!("reach ≥ {wanted}")),
            Reach::AtMost(wanted) => (ratio <= wanted, format!("reach ≤ {wanted}")),
            Reach::Shown => (true, String::new()),
        };
        let mark = if is_met { "" } else { "  short of it" };
        println!(
            "{what:<58} {value:>12.0} {limit:>12.0} {:>4} {ratio:>7.3} {:>6.0}%  {text}{mark}",
            unit.name(),
            100.0 * spread
        );
        self.rows.push(json!({
            "what": what, "unit": unit.name(), "value": value, "limit": limit,
            "ratio": ratio, "spread": spread, "reach": text, "isMet": is_met,
        }));
    }

    /// Prints a figure that has no limit, and keeps it.
    pub fn note(&mut self, what: impl fmt::Display, value: impl fmt::Display) {
        println!("{what:<58} {value}");
        self.rows.push(json!({ "what": what.to_string(), "note": value.to_string() }));
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let directory = PathBuf::from(target).join("bench");
        let rows = Value::from(std::mem::take(&mut self.rows));
        let written = fs::create_dir_all(&directory).and_then(|()| {
            fs::write(directory.join(self.name).with_extension("json"), format!("{rows:#}\n"))
        });
        if let Err(error) = written {
            println!("the table can't be kept: {error}");
        }
        println!();
    }
}

/// The rounds of a value and of its limit, taken in turn.
#[derive(Debug, Default, Clone)]
pub struct Rounds {
    values: Vec<f64>,
    limits: Vec<f64>,
}

impl Rounds {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a round.
    pub fn push(&mut self, value: f64, limit: f64) {
        self.values.push(value);
        self.limits.push(limit);
    }

    /// The median of the rounds' ratios.
    fn ratio(&self) -> f64 {
        median(&self.ratios())
    }

    /// How far the middle half of the ratios lies apart, over their median.
    fn spread(&self) -> f64 {
        let mut ratios = self.ratios();
        ratios.sort_by(f64::total_cmp);
        (ratios[ratios.len() * 3 / 4] - ratios[ratios.len() / 4]) / self.ratio()
    }

    fn ratios(&self) -> Vec<f64> {
        self.values.iter().zip(&self.limits).map(|(value, limit)| value / limit).collect()
    }
}

/// The middle one.
///
/// # Panics
/// When there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How many rounds a program takes: `rounds` of `just bench`, three times as many with `CATGA_BENCH=full`.
pub fn rounds(rounds: usize) -> usize {
    if is_full() { 3 * rounds } else { rounds }
}

/// Whether there is time for large sizes (`just bench-full`).
pub fn is_full() -> bool {
    std::env::var_os("CATGA_BENCH").is_some_and(|value| value == "full")
}

/// Whether the table `name` is to be measured: it is named on the command line, or none is.
pub fn is_wanted(name: &str) -> bool {
    let mut wanted = std::env::args().skip(1).peekable();
    wanted.peek().is_none() || wanted.any(|wanted| wanted == name)
}

/// What all but one in a hundred took, in nanoseconds. The shortest comes first.
///
/// # Panics
/// When there are none.
pub fn p99(times: &[Duration]) -> f64 {
    1e9 * times[times.len() * 99 / 100].as_secs_f64()
}

/// The resident memory of a process, in bytes.
///
/// # Panics
/// When `/proc` can't be read.
pub fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process");
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    1024.0 * kibibytes
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn float(n: usize) -> f64 {
    n as f64
}

/// The processor time that this process has used, in seconds.
///
/// # Panics
/// When `/proc` can't be read.
pub fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit_once(')').expect("a name in brackets").1;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|f| f.parse::<u64>().expect("ticks")).sum();
    float(usize::try_from(ticks).expect("few")) / 100.0
}
