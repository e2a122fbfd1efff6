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
