//! Reading the command line, and what a wrong one is told.
//!
//! An argument can be a connection string, also where none belongs or when a shell has cut it in two, and what the
//! program writes ends up in logs. So no usage error repeats any part of an argument, or of a variable of the
//! environment, but for the names of flags.

use std::fmt::Write;

use clap::{
    Args, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::cli::{Allowed, Cli};

/// The command line of `command`, or what is wrong with it.
///
/// # Errors
/// When it is wrong, and when help is asked for.
pub(crate) fn read<A: Args>(
    command: &mut clap::Command,
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Cli<A>, clap::Error> {
    // What the environment holds is shown by `env`: help is copied into tickets.
    let own = std::mem::take(command);
    *command = own.mut_args(|arg| arg.hide_env_values(true));
    let matches = command.try_get_matches_from_mut(arguments);
    let read = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    read.map_err(|error| match error.use_stderr() {
        true => command.error(error.kind(), explain(&error)),
        false => error,
    })
}

/// What is wrong, without any value.
fn explain(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let of = text(ContextKind::InvalidArg).and_then(name);
    let mut what = match (error.kind(), of) {
        (ErrorKind::InvalidValue, Some(flag))
            if text(ContextKind::InvalidValue).is_some_and(str::is_empty) =>
        {
            format!("{flag} needs a value")
        }
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(flag)) => {
            format!("{flag} has a value that is not allowed")
        }
        (ErrorKind::TooManyValues, Some(flag)) => format!("{flag} takes fewer values"),
        (ErrorKind::ArgumentConflict, Some(flag)) => {
            format!("{flag} is given twice, or can't be used with another argument here")
        }
        (ErrorKind::UnknownArgument, Some(flag)) => format!("there is no flag {flag}"),
        (ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand, _) => {
            "an argument is neither a command nor a flag's value".to_owned()
        }
        (ErrorKind::MissingRequiredArgument, _) => "a flag is missing".to_owned(),
        (kind, Some(flag)) => format!("{flag}: {}", kind.as_str().unwrap_or("it is wrong")),
        (kind, None) => kind.as_str().unwrap_or("an argument is wrong").to_owned(),
    };
    if let Some(Allowed(allowed)) = std::error::Error::source(error).and_then(|e| e.downcast_ref())
    {
        let _ = write!(what, ": {allowed}");
    }
    // These come of the program, not of the command line.
    for (kind, intro) in [
        (ContextKind::ValidValue, "possible values: "),
        (ContextKind::SuggestedArg, "there is "),
        (ContextKind::SuggestedSubcommand, "there is "),
    ] {
        match error.get(kind) {
            Some(ContextValue::String(text)) => _ = write!(what, "\n  [{intro}{text}]"),
            Some(ContextValue::Strings(texts)) if !texts.is_empty() => {
                _ = write!(what, "\n  [{intro}{}]", texts.join(", "));
            }
            _ => {}
        }
    }
    if let (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(flags))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        let _ = write!(what, ": {}", flags.join(", "));
    }
    what
}

/// A flag as it is shown: `--port`, and what follows it only when that is the name of a value, `<PORT>`.
fn name(flag: &str) -> Option<&str> {
    let name = flag.split([' ', '=']).next()?;
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (name.starts_with("--") && name.bytes().all(is_plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{App, NoArgs};

    /// What the usage error says, and all that is to be known of it.
    fn wrong(arguments: &[&str]) -> String {
        let mut command = App::new("Test").clap("test");
        let all = ["test"].iter().chain(arguments).map(Into::into);
        let error = read::<NoArgs>(&mut command, all).expect_err("it is wrong");
        let source = std::error::Error::source(&error).map(|source| format!("{source}{source:?}"));
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
        format!("{error}{error:?}{source:?}")
    }

    #[test]
    fn no_usage_error_repeats_a_value() {
        let secrets = [
            "user:s3cret@host:1",
            "http://user:s3cret@host",
            "redis://:s3cret#bad prefix@host:1",
            "redis://user:s3cret@host#a b",
            "-s3cret",
            "s3cret@host",
        ];
        for secret in secrets {
            let joined = |flag: &str| format!("{flag}={secret}");
            for arguments in [
                &["copy", &joined("--from"), "--to", "file:x"][..],
                &["copy", "--from", "file:x", &joined("--to")],
                &[&joined("--persistence")],
                &[&joined("--transport")],
                &[&joined("--host")],
                &[&joined("--port")],
                &[&joined("--cluster")],
                &[&joined("--lease")],
                &[&joined("--drain-timeout")],
                &[&format!("--redis-prefix=a {secret}")],
                &[&joined("--nats-replicas")],
                &[&joined("--require-durability")],
                &[&joined("--log-format")],
                &[&joined("--radish")],
                &[secret],
                &["check", secret],
                &["--redis", "redis://:my", secret],
                &["--redis=a", &joined("--redis"), &joined("--redis")],
            ] {
                let text = wrong(arguments);
                assert!(!text.contains("s3c"), "{arguments:?}: {text}");
            }
        }
    }

    #[test]
    fn a_usage_error_names_the_flag_and_what_is_allowed() {
        for (arguments, parts) in [
            (&["--port", "70000"][..], &["--port", "0 to 65535"][..]),
            (&["--persistence", "floppy"], &["--persistence", "possible values", "inmemory, file"]),
            (&["--colour", "red"], &["there is no flag --colour"]),
            (
                &["--persistance", "file"],
                &["there is no flag --persistance", "there is --persistence"],
            ),
            (&["chekc"], &["neither a command", "there is check"]),
            (&["--port"], &["--port needs a value"]),
            (&["copy", "--to", "file:x"], &["a flag is missing: --from <STORE>"]),
            (&["copy", "--from", "host:1", "--to", "file:x"], &["--from", "file:DIR"]),
            (&["--redis=a", "--redis=b"], &["--redis is given twice"]),
            (&["--nats-replicas", "2"], &["--nats-replicas", "1, 3 or 5"]),
            (&["--require-durability", "much"], &["--require-durability", "power-loss"]),
        ] {
            let text = wrong(arguments);
            for part in parts.iter().chain(&["Usage: test", "--help"]) {
                assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
            }
        }
    }
}
