//! Writes the tables of the last runs into `docs/benchmarks.md`: each between `<!-- NAME -->` and `<!-- end -->`, from
//! `target/bench/NAME.json`. What was not run stays as it is.

use std::{env, fs, path::Path};

use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let page = Path::new("docs/benchmarks.md");
    let mut text = fs::read_to_string(page)?;
    for name in ["commands", "http", "overload", "file", "redis", "nats", "handlers"] {
        let run = Path::new(&target).join("bench").join(name).with_extension("json");
        let Ok(run) = fs::read_to_string(run) else {
            println!("{name} was not run: its table stays");
            continue;
        };
        let rows: Vec<Value> = serde_json::from_str(&run)?;
        let (begin, end) = (format!("<!-- {name} -->\n"), "<!-- end -->");
        let start = text.find(&begin).ok_or(format!("no place for {name}"))? + begin.len();
        let length = text[start..].find(end).ok_or(format!("{name} has no end"))?;
        text.replace_range(start..start + length, &table(&rows));
    }
    fs::write(page, text)?;
    Ok(())
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
