//! Reading the command line, and what a wrong one is told.
//!
//! An argument can be a connection string, also where none belongs or when a shell has cut it in two, and what the
//! program writes ends up in logs. So no usage error repeats any part of an argument, or of a variable of the
//! environment, but for the names of flags.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write,
};

use clap::{
    ArgMatches, Args, FromArgMatches,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use crate::cli::{Allowed, Backends, Cli, Command, Persistence, Transport};

/// A command line that was read.
pub(crate) struct Usage<A: Args> {
    pub(crate) cli: Cli<A>,
    /// A variable that was not taken for what its name says.
    pub(crate) ignored: Option<String>,
    /// Whether the command line itself says where to listen, or whom to ask.
    pub(crate) names_address: bool,
}

/// The command line of `command`, or what is wrong with it.
///
/// # Errors
/// When it is wrong, and when help is asked for.
pub(crate) fn read<A: Args>(
    command: &mut clap::Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Usage<A>, clap::Error> {
    let ignored = take_variables(command);
    let matches = command.try_get_matches_from_mut(arguments);
    let read = matches.and_then(|matches| Ok((Cli::<A>::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = read.map_err(|error| match error.use_stderr() {
        true => command.error(error.kind(), explain(&error)),
        false => error,
    })?;
    let is_given = |id: &str| is_given(&matches, id);
    if let Some((flag, needed)) = without_effect(&cli, is_given) {
        let flag = flag.replace('_', "-");
        let text = format!("--{flag} has no effect here: {needed}, or leave it out");
        return Err(command.error(ErrorKind::ArgumentConflict, text));
    }
    let names_address = is_given("host") || is_given("port");
    Ok(Usage { cli, ignored, names_address })
}

/// Prepares flags for the variables that there are. One that is set to nothing counts as not set: so does
/// `${NAME:-}` in a compose file. Answers the name of one that is not meant for the program.
fn take_variables(command: &mut clap::Command) -> Option<String> {
    let mut ignored = None;
    let own = std::mem::take(command);
    *command = own.mut_args(|arg| {
        let name = arg.get_env().map(OsStr::to_owned);
        // What the environment holds is shown by `env`: help is copied into tickets.
        let arg = arg.hide_env_values(true);
        match name.as_deref().and_then(std::env::var_os) {
            Some(value) if value.is_empty() => arg.env(Resettable::Reset),
            Some(value) if name.as_deref().is_some_and(|name| is_of_kubernetes(name, &value)) => {
                ignored = name.and_then(|name| name.into_string().ok());
                arg.env(Resettable::Reset)
            }
            _ => arg,
        }
    });
    ignored
}

/// Whether Kubernetes has set a variable: each pod has one with the address of each Service in its namespace, called
/// `CATGA_PORT` when a Service is called `catga`.
fn is_of_kubernetes(name: &OsStr, value: &OsStr) -> bool {
    let is_address = |value: &str| {
        ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
    };
    name.to_str().is_some_and(|name| name.ends_with("_PORT"))
        && value.to_str().is_some_and(is_address)
}

/// Whether a flag is on the command line. One that the environment sets may be there for another command, or come with
/// an image.
fn is_given(matches: &ArgMatches, id: &str) -> bool {
    let is_known = matches.try_contains_id(id).is_ok();
    is_known && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// A flag that is given and that nothing would read, with what to add. Silently, the log would be in memory.
fn without_effect<A: Args>(
    Cli { command, serve, .. }: &Cli<A>,
    is_given: impl Fn(&str) -> bool,
) -> Option<(&'static str, &'static str)> {
    let unread = |is_read: bool, flags: &[&'static str], needed| {
        let mut flags = flags.iter().filter(|_| !is_read);
        flags.find(|flag| is_given(flag)).map(|flag| (*flag, needed))
    };
    let Backends { transport, persistence, .. } = serve.backends;
    match command {
        None
        | Some(Command::Serve | Command::Check | Command::Repair { .. } | Command::Skip { .. }) => {
            let is_file = persistence == Persistence::File;
            let is_redis = on_redis(transport, persistence);
            let is_nats = on_nats(transport, persistence);
            unread(is_file, &["data_dir"], "add --persistence file")
                .or_else(|| {
                    unread(is_redis, &REDIS, "add --persistence redis or --transport redis")
                })
                .or_else(|| unread(is_nats, &NATS, "add --persistence nats or --transport nats"))
                .or_else(|| {
                    let needed = "add --persistence redis or nats, or --transport redis or nats";
                    unread(is_redis || is_nats, &["wait_for_store"], needed)
                })
                .or_else(|| unread(serve.cluster, &["lease"], "add --cluster"))
        }
        Some(Command::Verify) => {
            let needed = "verify checks a log in files, below --data-dir";
            unread(persistence == Persistence::File, &["persistence"], needed)
                .or_else(|| unread(false, &REDIS, needed))
                .or_else(|| unread(false, &NATS, needed))
        }
        Some(Command::Copy { from, to }) => {
            let places = [
                "persistence",
                "transport",
                "data_dir",
                "redis",
                "redis_prefix",
                "nats",
                "nats_prefix",
            ];
            let is_on = |store| from.store() == store || to.store() == store;
            unread(false, &places, "copy reads --from and writes to --to")
                .or_else(|| unread(is_on("redis"), &REDIS, "neither --from nor --to is on Redis"))
                .or_else(|| unread(is_on("nats"), &NATS, "neither --from nor --to is on NATS"))
        }
        // They read no store. Who keeps all flags in one place may give them here, too.
        Some(Command::Handlers | Command::Openapi | Command::Healthcheck) => None,
    }
}

/// The flags about a server of Redis.
const REDIS: [&str; 3] = ["redis", "redis_ca", "redis_prefix"];

/// The flags about a server of NATS.
const NATS: [&str; 6] =
    ["nats", "nats_prefix", "nats_replicas", "nats_monitor", "nats_credentials", "nats_ca"];

fn on_redis(transport: Transport, persistence: Persistence) -> bool {
    transport.name() == "redis" || persistence.name() == "redis"
}

fn on_nats(transport: Transport, persistence: Persistence) -> bool {
    transport.name() == "nats" || persistence.name() == "nats"
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
        let error = read::<NoArgs>(&mut command, all).err().expect("it is wrong");
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
                &[&joined("--wait-for-store")],
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

    #[test]
    fn a_flag_without_effect_is_told_what_to_add() {
        for (arguments, parts) in [
            (
                &["--redis", "host:1"][..],
                &["--redis ", "--persistence redis or --transport redis"][..],
            ),
            (
                &["--redis-prefix", "p", "--persistence", "file"],
                &["--redis-prefix", "--persistence redis"],
            ),
            (&["--redis", "host:1", "--transport", "nats"], &["--redis", "--transport redis"]),
            (
                &["check", "--nats", "nats://host"],
                &["--nats", "--persistence nats or --transport nats"],
            ),
            (&["--nats-monitor", "host:1"], &["--nats-monitor", "--persistence nats"]),
            (&["--data-dir", "d"], &["--data-dir", "add --persistence file"]),
            (&["--data-dir", "d", "--persistence", "redis"], &["--data-dir", "--persistence file"]),
            (&["--wait-for-store", "3"], &["--wait-for-store", "--persistence redis or nats"]),
            (&["--lease", "3"], &["--lease", "add --cluster"]),
            (&["serve", "--lease", "3"], &["--lease", "add --cluster"]),
            (&["verify", "--persistence", "redis"], &["--persistence", "--data-dir"]),
            (&["verify", "--redis", "host:1"], &["--redis", "--data-dir"]),
            (
                &["copy", "--from", "file:a", "--to", "file:b", "--data-dir", "c"],
                &["--data-dir", "--from"],
            ),
            (
                &["copy", "--from", "file:a", "--to", "unix:b", "--nats-ca", "c"],
                &["--nats-ca", "NATS"],
            ),
        ] {
            let text = wrong(arguments);
            for part in parts.iter().chain(&["has no effect", "or leave it out"]) {
                assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
            }
        }
    }

    #[test]
    fn a_flag_with_an_effect_is_taken() {
        for arguments in [
            &["--redis", "host:1", "--persistence", "redis"][..],
            &[
                "--redis",
                "host:1",
                "--transport",
                "redis",
                "--persistence",
                "file",
                "--data-dir",
                "d",
            ],
            &["serve", "--nats", "host:1", "--persistence", "nats", "--cluster", "--lease", "3"],
            &["--persistence", "nats", "check", "--nats-monitor", "host:1"],
            &["verify", "--data-dir", "d"],
            &["verify", "--persistence", "file", "--data-dir", "d"],
            &["copy", "--from", "file:a", "--to", "rediss://b", "--redis-ca", "c"],
            &["healthcheck", "--redis", "host:1"],
        ] {
            let mut command = App::new("Test").clap("test");
            let all = ["test"].iter().chain(arguments).map(Into::into);
            assert!(read::<NoArgs>(&mut command, all).is_ok(), "{arguments:?}");
        }
    }
}
