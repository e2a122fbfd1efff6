//! The command line of order-system: what is said about a wrong one.

use std::process::{Command, Stdio};

use catga_tests::binary;

/// Runs order-system to its end: its exit code, and what it wrote.
fn run(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("it writes text"))
}

/// Connection strings with a password, sound ones and broken ones.
const SECRETS: [&str; 16] = [
    "redis://:s3c#ret@127.0.0.1:1",
    "redis://user:s3cret@127.0.0.1:notaport",
    "redis:/user:s3cret@127.0.0.1:1",
    "redis://user:1/s3cret@127.0.0.1:1",
    "redis://user:s3c%ret@127.0.0.1:1",
    "redis://:s3cret#bad prefix@127.0.0.1:1",
    "rediss://user:s3cret@127.0.0.1:1/?protocol=s3cret",
    "nats://user:s3cret@127.0.0.1:notaport",
    "nats://a:1,nats://user:s3cret@127.0.0.1:1",
    "nats://user:s3c#ret@127.0.0.1:1",
    "nats://s3cret@127.0.0.1:1",
    "file:redis://user:s3cret@127.0.0.1:1",
    "user:s3cret@127.0.0.1:1",
    "http://user:s3cret@x",
    "-s3cret@127.0.0.1",
    "s3cret@",
];

#[test]
fn a_connection_string_is_repeated_nowhere() {
    for secret in SECRETS {
        let joined = |flag: &str| format!("{flag}={secret}");
        for args in [
            &["copy", &joined("--from"), "--to", "file:/dev/null/x"][..],
            &["copy", "--from", "file:/dev/null/x", &joined("--to")],
            &["check", "--persistence", "redis", &joined("--redis")],
            &["check", "--persistence", "nats", &joined("--nats")],
            &["check", "--persistence", "file", &format!("--data-dir=/dev/null/{secret}")],
            &["check", &joined("--persistence")],
            &["check", &joined("--log")],
            &["check", secret],
            &["check", "--redis", "redis://:my", secret],
        ] {
            let (_, text) = run(args, &[]);
            assert!(!text.contains("s3c"), "{args:?}: {text}");
        }
        for (variable, args) in [
            ("CATGA_REDIS", &["check", "--persistence", "redis"][..]),
            ("CATGA_NATS", &["check", "--persistence", "nats"]),
            ("CATGA_PERSISTENCE", &["check"]),
            ("CATGA_TRANSPORT", &["check"]),
            ("CATGA_PORT", &["check"]),
            ("CATGA_HOST", &["check"]),
            ("CATGA_NATS_MONITOR", &["--help"]),
            ("CATGA_DATA_DIR", &["--help"]),
        ] {
            let (_, text) = run(args, &[(variable, secret)]);
            assert!(!text.contains("s3c"), "{variable}, {args:?}: {text}");
        }
    }
}

#[test]
fn a_flag_without_effect_is_wrong_and_a_variable_without_is_not() {
    let (code, text) = run(&["check", "--redis", "localhost:1"], &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("add --persistence redis or --transport redis"), "{text}");
    let variables =
        [("CATGA_DATA_DIR", "/data"), ("CATGA_REDIS", "localhost:1"), ("CATGA_LEASE", "3")];
    let (code, text) = run(&["check"], &variables);
    assert_eq!(code, Some(0), "{text}");
    let (code, _) = run(&["check", "--data-dir", "x"], &[("CATGA_PERSISTENCE", "inmemory")]);
    assert_eq!(code, Some(2));
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let (_, help) = run(&["--help"], &[]);
    let names = help.split("[env: ").skip(1).filter_map(|rest| rest.split([']', '=']).next());
    let variables: Vec<_> = names.map(|name| (name, "")).collect();
    assert!(variables.len() > 20, "{variables:?}");
    let (code, text) = run(&["check"], &variables);
    assert_eq!(code, Some(0), "{text}");
}

/// A Service called `catga` gives every pod of its namespace such a variable.
#[test]
fn the_port_of_a_service_of_kubernetes_is_ignored_and_that_is_said() {
    let (code, text) = run(&["check"], &[("CATGA_PORT", "tcp://10.43.12.3:5000")]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Kubernetes") && text.contains("CATGA_PORT"), "{text}");
    let (code, text) = run(&["check"], &[("CATGA_PORT", "5000x")]);
    assert_eq!(code, Some(2), "{text}");
}
