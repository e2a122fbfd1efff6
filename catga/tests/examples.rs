//! Every example runs to its end, in a process of its own: what it says is asserted in its `main`.

use std::{collections::BTreeSet, path::Path, process::Command};

/// Runs the example that was built beside this test, as `cargo test` and `cargo nextest run` do for a whole package.
fn run(name: &str) {
    let test = std::env::current_exe().unwrap();
    let profile =
        test.ancestors().nth(2).expect("a test is in `deps` of the folder of its profile");
    let example = profile.join("examples").join(name);
    let output = Command::new(&example).output().unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo build -p catga --examples` builds it", example.display())
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} ended with {}:\n{errors}", output.status);
}

macro_rules! examples {
    ($($name:ident),+ $(,)?) => {
        const ALL: &[&str] = &[$(stringify!($name)),+];

        $(#[test]
        fn $name() {
            run(stringify!($name));
        })+
    };
}

examples!(
    command,
    custom_store,
    effect_with_retry,
    order,
    query_and_projection,
    snapshots,
    state,
    subscribe,
    testing,
    upcasting,
);

/// The sources of the examples, by name.
fn sources() -> impl Iterator<Item = (String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    })
}

#[test]
fn every_example_is_run_and_says_how() {
    let names: BTreeSet<_> = sources().map(|(name, _)| name).collect();
    assert_eq!(names, ALL.iter().map(|name| (*name).to_owned()).collect());
    for (name, source) in sources() {
        let command = format!("`cargo run -p catga --example {name}`");
        assert!(source.starts_with("//! ") && source.contains(&command), "{name}: {command}");
        assert!(source.lines().count() <= 90, "{name} is longer than a screen or two");
    }
}

#[test]
fn every_example_is_on_the_front_page() {
    let page = include_str!("../src/lib.rs");
    for name in ALL {
        assert!(page.contains(&format!("//! - `{name}`: ")), "{name}");
    }
}
