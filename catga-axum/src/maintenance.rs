//! What operators do to a log while the service is stopped, or look at.

use std::time::Duration;

use catga::{
    handler::Kind,
    log::Position,
    migrate::{Copied, CopyError, CopyProgress, CopyStep},
    repair::LostCheckpoint,
    skip::UnreadableEvent,
    store::{Backend as Stores, FileStore},
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    backend::{Failure, NotOpened, describe, open, open_at, open_stores},
    cli::{Backends, Location, Persistence, Serve},
};

/// `check`: what the store is, or why it can't be used.
///
/// # Errors
/// As [`open`].
pub(crate) async fn check(flags: &Backends) -> Result<String, Failure> {
    // Who asks wants to know how it is now.
    let backend = open(flags, Duration::ZERO).await?;
    let head = backend.stores.store().head().await?;
    Ok(format!("{}\n  last position {head}\n", describe(flags, &backend.durability)))
}

/// `copy`: what was copied. The progress is shown on stderr, when that is a terminal.
///
/// # Errors
/// When a store can't be opened, read or written, or when the target holds something else.
pub(crate) async fn copy(
    flags: &Backends,
    from: &Location,
    to: &Location,
) -> Result<String, Failure> {
    if let Some(directory) = from.directory() {
        // Opening a directory makes a log where there is none.
        let verified = FileStore::verify(directory);
        verified.map_err(|error| NotOpened::of_file(directory, &error).at("--from"))?;
    }
    let from = open_at(flags, from).await.map_err(|error| error.at("--from"))?;
    let to = open_at(flags, to).await.map_err(|error| error.at("--to"))?;
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{msg:<8} {wide_bar} {pos}/{len} {per_sec} {eta}")
            .expect("the template is sound"),
    );
    let progress = |progress: CopyProgress| {
        bar.set_message(match progress.step {
            CopyStep::Resume => "resume",
            CopyStep::Copy => "copy",
            CopyStep::Verify => "verify",
        });
        bar.set_length(progress.end.get());
        bar.set_position(progress.position.get());
    };
    let copied = catga::migrate::copy(&from, &to, &event_handlers(), progress).await;
    bar.finish_and_clear();
    let Copied { written, found, checkpoints } = copied.map_err(|error| match error {
        CopyError::Source(_) | CopyError::Target(_) => {
            format!("{error}\nwhat was copied stays; the same command goes on from there")
        }
        error => error.to_string(),
    })?;
    Ok(format!(
        "{written} commits were copied and {found} were there already; all {} were compared\n\
         {checkpoints} event handlers go on where they were\n",
        written + found
    ))
}

fn event_handlers() -> Vec<&'static str> {
    let all = catga::handler::catalogue().into_iter();
    all.filter(|item| item.kind == Kind::EventHandler).map(|item| item.name).collect()
}

/// The stores of a log that is there, for who mends it.
async fn open_log(flags: &Backends) -> Result<Stores, Failure> {
    if flags.persistence == Persistence::Inmemory {
        return Err(
            "--persistence inmemory: nothing of it outlives the process that could be repaired"
                .into(),
        );
    }
    if flags.persistence == Persistence::File {
        // Opening a directory makes a log where there is none.
        verify(flags)?;
    }
    let stores = open_stores(flags).await?;
    if stores.store().head().await? == Position::ZERO {
        return Err(
            "there is no log, or an empty one; which one it is, --persistence and its flags say"
                .into(),
        );
    }
    Ok(stores)
}

/// `repair`: what is lost, and where the event handlers can go on.
///
/// # Errors
/// As [`open`], and when the store can't be read or written.
pub(crate) async fn repair(flags: &Backends, is_to_be_done: bool) -> Result<String, Failure> {
    let stores = open_log(flags).await?;
    let lost = catga::repair::lost_checkpoints(&stores, &event_handlers()).await?;
    if lost.is_empty() {
        return Ok("every checkpoint is in the log: there is nothing to repair\n".to_owned());
    }
    let mut lines = String::new();
    for checkpoint in &lost {
        let LostCheckpoint { handler, partition, position, last_good, .. } = checkpoint;
        lines += &format!(
            "{handler}/{partition}: the event at its checkpoint, position {position}, is lost; it can go on behind position {last_good}"
        );
        if is_to_be_done {
            lines += match catga::repair::put_back(&stores, checkpoint).await? {
                true => ": done",
                false => ": not done, as it was changed meanwhile; stop the service first",
            };
        }
        lines.push('\n');
    }
    lines += "Events of the last minute before the loss are handled again, as is all that came after it.\n";
    lines += match is_to_be_done {
        true => "Start the service again.\n",
        false => "Nothing was changed; --apply puts the checkpoints back.\n",
    };
    Ok(lines)
}

/// How many events `skip` lists at most.
const LISTED: usize = 100;

/// `skip`: the events that can't be read, or the one that is gone on without from now on, and why.
///
/// # Errors
/// As [`open`], when there is nothing to skip, and when the store can't be read or written.
pub(crate) async fn skip(
    flags: &Serve,
    event: Option<(Position, String)>,
) -> Result<String, Failure> {
    let stores = open_log(&flags.backends).await?;
    if let Some((position, reason)) = event {
        let node = flags.node_id.as_deref().unwrap_or("operator");
        let skipped = catga::skip::skip(&stores, position, &reason, node).await?;
        return Ok(format!(
            "{}\nStart every node again: it goes on without this event then.\n",
            line(&skipped)
        ));
    }
    let events = catga::skip::unreadable_events(&stores, LISTED).await?;
    if events.is_empty() {
        return Ok("this program can read every event in the log\n".to_owned());
    }
    let mut lines: String = events.iter().map(|event| line(event) + "\n").collect();
    if events.len() == LISTED {
        lines += "There may be more: these are the first.\n";
    }
    lines += "Nothing was changed. If no version of the program can read one, skip POSITION --reason TEXT goes on without it.\n";
    Ok(lines)
}

fn line(event: &UnreadableEvent) -> String {
    let UnreadableEvent { position, stream, version, cause, skipped, .. } = event;
    let skipped = skipped.as_ref().map(|reason| format!("; skipped: {reason}"));
    format!(
        "position {position}, version {version} of {stream}: {cause}{}",
        skipped.unwrap_or_default()
    )
}

/// `verify`: what the log below `--data-dir` holds.
///
/// # Errors
/// When something there is not as it was written, or can't be read.
pub(crate) fn verify(flags: &Backends) -> Result<String, Failure> {
    let found = FileStore::verify(&flags.data_dir)
        .map_err(|error| NotOpened::of_file(&flags.data_dir, &error).at("--data-dir"))?;
    let end = match found.torn_bytes {
        0 if found.is_closed => "it was closed".to_owned(),
        0 => "it was not closed, and ends with a whole commit".to_owned(),
        bytes => format!(
            "it was not closed; {bytes} bytes of a write that was never acknowledged follow, and the next start cuts them off"
        ),
    };
    Ok(format!(
        "{}: sound\n  {} segments, {} commits of {} streams, last position {}\n  {end}\n",
        flags.data_dir.display(),
        found.segments,
        found.commits,
        found.streams,
        found.head,
    ))
}
