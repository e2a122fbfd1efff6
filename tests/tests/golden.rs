//! What people and scripts rely on, word for word: a change of it is a decision, made with `just golden`.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use catga_tests::binary;

fn run(args: &[&str]) -> String {
    let output = Command::new(binary())
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}

fn assert_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("CATGA_BLESS").is_some() {
        std::fs::write(&path, text).expect("the file can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{} differs from what there is now; `just golden` accepts it:\n{text}",
        path.display()
    );
}

#[test]
fn the_help() {
    assert_golden("help.txt", &run(&["--help"]));
}

#[test]
fn the_catalogue() {
    // Without the source lines, which change with every edit.
    let lines = run(&["handlers"]);
    let names = lines.lines().map(|line| line.rsplit_once(' ').map_or(line, |(name, _)| name));
    let names: Vec<_> = names.map(str::trim_end).collect();
    assert_golden("handlers.txt", &(names.join("\n") + "\n"));
}

/// It is made from the types: a field that changes its name or its type shows here.
#[test]
fn the_openapi_document() {
    assert_golden("openapi.json", &run(&["openapi"]));
}

#[test]
fn the_routes() {
    let document = serde_json::from_str::<serde_json::Value>(&run(&["openapi"])).expect("JSON");
    let paths = document["paths"].as_object().expect("it has paths");
    let routes = paths.iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().expect("operations").keys();
        methods
            .filter(|key| *key != "parameters")
            .map(move |method| format!("{} {path}\n", method.to_uppercase()))
    });
    let mut routes: Vec<_> = routes.collect();
    routes.sort_by(|a, b| a.split_once(' ').map(|r| r.1).cmp(&b.split_once(' ').map(|r| r.1)));
    assert_golden("routes.txt", &routes.concat());
}
