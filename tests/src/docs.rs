//! Documents whose samples are tests: the files in them are written, their commands run, and what they print is compared.
//!
//! A fenced block belongs to a test by the word behind its language:
//! - ```` ```toml file=Cargo.toml ```` is the whole of that file, or `add=Cargo.toml` what is added to its end
//! - ```` ```console ```` is a session: lines after `$ ` are commands, with `\` at the end when they go on, and what follows is
//!   what they print. `…` stands for anything within a line; a line with `…` alone for any lines. A command that ends with
//!   ` &` serves in the background until `kill %1`, and what stands below it are the first lines that it prints.

use std::process::{Command, Stdio};

/// A fenced block of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands behind the fence: `rust file=src/main.rs`.
    pub info: String,
    /// The text between the fences.
    pub text: String,
    /// The line of the document that it begins at.
    pub line: usize,
}

impl Block {
    /// The value of `key=` behind the fence.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.info.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// Whether it is of `language`.
    pub fn is(&self, language: &str) -> bool {
        self.info.split(' ').next() == Some(language)
    }
}

/// The fenced blocks of `document`, in order.
pub fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(document.lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some(Block { info: info.to_owned(), text: String::new(), line: number });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// One command of a session, with what it prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The command, its lines joined as a shell reads them.
    pub command: String,
    /// What it prints.
    pub output: String,
}

/// The commands of a session.
pub fn steps(session: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    for line in session.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), output: String::new() });
        } else if let Some(step) = steps.last_mut() {
            let to = if goes_on { &mut step.command } else { &mut step.output };
            to.push_str(line);
            if !goes_on {
                to.push('\n');
            }
        }
        goes_on = steps.last().is_some_and(|step| step.output.is_empty()) && line.ends_with('\\');
        if let (true, Some(step)) = (goes_on, steps.last_mut()) {
            step.command.pop();
        }
    }
    steps
}

/// Runs a command of a session in `shell`'s folder, and answers what it prints.
///
/// # Panics
/// When it can't be run.
pub fn run(command: &str, folder: &std::path::Path, target: &std::path::Path) -> String {
    let mut shell = shell(command, folder, target);
    let output = shell.stdin(Stdio::null()).stderr(Stdio::piped()).output().expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        text
    } else {
        format!("{text}{}\n[exit {}]", String::from_utf8_lossy(&output.stderr), output.status)
    }
}

/// What runs a command in a folder, and has cargo build in `target`.
pub fn shell(command: &str, folder: &std::path::Path, target: &std::path::Path) -> Command {
    let mut shell = Command::new("bash");
    shell
        .args(["-c", command])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_TERM_COLOR", "never")
        // What is built for a guide is not looked into.
        .env("CARGO_PROFILE_DEV_DEBUG", "false");
    shell
}

/// Whether `printed` is what `written` says. Times, which differ from run to run, may be any time.
pub fn is_as_written(written: &str, printed: &str) -> bool {
    let written: Vec<_> = written.trim().lines().map(without_times).collect();
    let printed: Vec<_> = printed.trim().lines().map(without_times).collect();
    lines_match(&written, &printed)
}

fn lines_match(written: &[String], printed: &[String]) -> bool {
    match written.split_first() {
        None => printed.is_empty(),
        Some((any, rest)) if any.trim() == "…" => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(found, others)| line_matches(line, found) && lines_match(rest, others)),
    }
}

fn line_matches(written: &str, printed: &str) -> bool {
    let mut parts = written.trim_end().split('…');
    let first = parts.next().expect("there is always one part");
    let Some(mut rest) = printed.trim_end().strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The line with each time in RFC 3339 replaced by the same word.
fn without_times(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("20") {
        let (before, time) = rest.split_at(at);
        out.push_str(before);
        let length =
            time.bytes().take_while(|b| b.is_ascii_digit() || b"-:.TZ".contains(b)).count();
        if length >= 20 && time[..length].ends_with('Z') {
            out.push_str("TIME");
            rest = &time[length..];
        } else {
            out.push_str("20");
            rest = &time[2..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_taken_apart() {
        let text = "a\n```toml file=x/Cargo.toml\n[a]\n```\nb\n```console\n$ one \\\n    --two\n1\n$ three\n```\n";
        let blocks = blocks(text);
        assert_eq!(blocks.len(), 2);
        assert!(blocks[0].is("toml") && blocks[0].value("file") == Some("x/Cargo.toml"));
        assert_eq!((blocks[0].text.as_str(), blocks[0].line), ("[a]\n", 2));
        let steps = steps(&blocks[1].text);
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0].command, "one     --two");
        assert_eq!((steps[0].output.as_str(), steps[1].output.as_str()), ("1\n", ""));
    }

    #[test]
    fn what_is_printed_is_compared_with_what_is_written() {
        let written = "{\"at\":\"2026-01-31T12:00:00Z\",\"items\":[…],\"n\":1}\n…\nend";
        let printed = |n: u8| {
            format!(
                "{{\"at\":\"2027-02-01T00:00:00.123Z\",\"items\":[1,2],\"n\":{n}}}\nx\ny\nend\n"
            )
        };
        assert!(is_as_written(written, &printed(1)));
        assert!(!is_as_written(written, &printed(2)));
        assert!(
            !is_as_written("a", "b") && !is_as_written("a", "a\nb") && !is_as_written("a…c", "ab")
        );
        assert!(is_as_written("2026 orders", "2026 orders"));
    }
}
