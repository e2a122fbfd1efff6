//! Writes the tables of the last runs into `docs/benchmarks.md`: each between `<!-- NAME -->` and `<!-- end -->`, from
//! `target/bench/NAME.json`, and draws those of the stores into `docs/plots`. What was not run stays as it is.

use std::{env, fs, path::Path};

use catga_bench::plot::{self, Line};
use serde_json::Value;

const TABLES: [&str; 12] = [
    "commands", "http", "overload", "file", "redis", "nats", "loads", "barrier", "handlers",
    "start", "memory", "growth",
];

/// Those that are drawn, and what is written above.
const PLOTS: [(&str, &str); 3] = [
    ("file", "Appends to files, synced before each answer"),
    ("redis", "Appends to Redis"),
    ("nats", "Appends to NATS JetStream"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let page = Path::new("docs/benchmarks.md");
    let mut text = fs::read_to_string(page)?;
    for name in TABLES {
        let Some(rows) = rows(name)? else {
            println!("{name} was not run: its table stays");
            continue;
        };
        let (begin, end) = (format!("<!-- {name} -->\n"), "<!-- end -->");
        let start = text.find(&begin).ok_or(format!("no place for {name}"))? + begin.len();
        let length = text[start..].find(end).ok_or(format!("{name} has no end"))?;
        text.replace_range(start..start + length, &table(&rows));
    }
    fs::write(page, text)?;
    fs::create_dir_all("docs/plots")?;
    for (name, title) in PLOTS {
        if let Some(rows) = rows(name)? {
            let throughput = lines(&rows, "", 1.0);
            let p99 = lines(&rows, ", p99", 1e6);
            fs::write(format!("docs/plots/{name}.svg"), plot::page(title, &throughput, &p99))?;
        }
    }
    Ok(())
}

/// The rows of a program's last run, if there was one.
fn rows(name: &str) -> Result<Option<Vec<Value>>, Box<dyn std::error::Error>> {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let run = Path::new(&target).join("bench").join(name).with_extension("json");
    let Ok(run) = fs::read_to_string(run) else { return Ok(None) };
    Ok(Some(serde_json::from_str(&run)?))
}

/// The rows `SERIES, N clients` with this end, as a line for the value and one for the limit of each series.
fn lines(rows: &[Value], end: &str, unit: f64) -> Vec<Line> {
    let mut lines = Vec::<Line>::new();
    for row in rows {
        let what = row["what"].as_str().and_then(|what| what.strip_suffix(end));
        let Some((series, clients)) = what.and_then(|what| what.rsplit_once(", ")) else {
            continue;
        };
        let Some(clients) = clients.strip_suffix(" clients").and_then(|n| n.parse().ok()) else {
            continue;
        };
        let series = series.replace('`', "");
        for (is_limit, field) in [(false, "value"), (true, "limit")] {
            let name = if is_limit { format!("{series}: limit") } else { series.clone() };
            let point = (clients, row[field].as_f64().unwrap_or_default() / unit);
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push(point),
                None => lines.push(Line { name, is_limit, points: vec![point] }),
            }
        }
    }
    lines
}

fn table(rows: &[Value]) -> String {
    let mut table = String::from(
        "| what | value | limit, same run | ratio | spread | reach |\n|---|---|---|---|---|---|\n",
    );
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for row in rows {
        let what = text(&row["what"]);
        if let Some(note) = row["note"].as_str() {
            table.push_str(&format!("| {what} | {note} | | | | |\n"));
            continue;
        }
        let number = |name: &str| row[name].as_f64().unwrap_or_default();
        let unit = text(&row["unit"]);
        let missed = if row["isMet"] == true { "" } else { ", **missed**" };
        table.push_str(&format!(
            "| {what} | {} {unit} | {} {unit} | {:.2} | {:.0} % | {}{missed} |\n",
            grouped(number("value")),
            grouped(number("limit")),
            number("ratio"),
            100.0 * number("spread"),
            text(&row["reach"]).trim_start_matches("reach "),
        ));
    }
    table
}

/// A whole number with its thousands set apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
