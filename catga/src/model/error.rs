//! The one error that sending a command or a query can end with.

use std::{error::Error as StdError, fmt};

use crate::{
    log::{StoreError, Version},
    model::{DecodeError, FieldError},
};

/// Any error, in a box: what a handler returns that uses `?` on errors of many types.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What a handler returns that uses `?` on errors of many types.
///
/// ```
/// fn quantity(text: &str) -> catga::Result<u32> {
///     let quantity: u32 = text.parse()?;
///     if quantity == 0 {
///         return Err("nothing is ordered".into());
///     }
///     Ok(quantity)
/// }
/// # assert!(quantity("0").is_err());
/// ```
///
/// [`Error::handler`] finds the error of a `?` by its type, as it does when the handler returns that type alone.
/// [`Error`] itself is an ordinary `std::error::Error`, so that `?` turns it into a `Box<dyn Error>` or an `anyhow::Error`;
/// for that reason it can't be made from any other error. A handler can return `anyhow::Result` as well; an `anyhow::Error`
/// hides the type of what is in it, so that [`Error::handler`] does not find that.
pub type Result<T, E = BoxError> = std::result::Result<T, E>;

/// Why a command or query was not answered.
///
/// What a handler itself returned as error is kept whole: [`Error::handler`] gives it back by type. `{error:#}` is its text with
/// those of its causes.
#[derive(Debug)]
pub struct Error(Box<ErrorKind>);

/// What kind of [`Error`] it is, with what belongs to that kind.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The handler refused: its own error.
    Handler(BoxError),
    /// The command is not acceptable in itself. HTTP: 422.
    Invalid(Vec<FieldError>),
    /// The aggregate is not at the version that the sender expected. HTTP: 412.
    VersionMismatch {
        /// The version it has.
        actual: Version,
    },
    /// The command's id was used before on this aggregate, for another command. HTTP: 422.
    CommandIdReused,
    /// Other commands on the same aggregate came first each time it was tried. Nothing was written.
    /// Worth trying again; HTTP: 503.
    Contention,
    /// It took longer than the timeout. Whether it had an effect is not known; sent again under the same command
    /// id, it has one effect. HTTP: 503, or 504 for a command without an id.
    Timeout,
    /// The store can't be reached or can't say how the append ended. Sent again under the same
    /// command id, the command has one effect. HTTP: 503.
    Store(StoreError),
    /// The log does not reach up to the position that was asked for: it is one of another log, or of an end that was lost.
    /// HTTP: 409.
    PositionUnknown,
    /// The log holds an event that this program can't read.
    Decode(DecodeError),
    /// The read models stopped at an event they can't read; they are not up to date.
    ReadModel(String),
    /// A handler, a behavior or a message broke a rule of the framework; the text says which.
    Misuse(String),
}

impl Error {
    /// The kind, with its data.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// The handler's own error, if it is a handler's error of type `E`.
    pub fn handler<E: StdError + 'static>(&self) -> Option<&E> {
        match self.kind() {
            ErrorKind::Handler(error) => error.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the same message may be answered if it is sent again a little later.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Contention | ErrorKind::Timeout => true,
            ErrorKind::Store(error) => error.is_unavailable() || error.is_not_durable(),
            _ => false,
        }
    }

    /// An error of the handler's own, for handlers that return this type. Catga's own error stays
    /// what it is.
    pub fn refused(error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => ErrorKind::Handler(error).into(),
        }
    }

    /// Many errors have the text of their cause at the end of their own: that is not said twice.
    fn fmt_with_causes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.to_string();
        f.write_str(&said)?;
        for cause in std::iter::successors(self.source(), |&cause| cause.source()) {
            let text = cause.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
        }
        Ok(())
    }

    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        ErrorKind::Misuse(message.into()).into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        ErrorKind::Store(error).into()
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        ErrorKind::Decode(error).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return self.fmt_with_causes(f);
        }
        match self.kind() {
            ErrorKind::Handler(error) => error.fmt(f),
            ErrorKind::Invalid(fields) => {
                f.write_str("not acceptable")?;
                for (i, FieldError { field, message }) in fields.iter().enumerate() {
                    write!(f, "{} {field}: {message}", if i == 0 { ':' } else { ';' })?;
                }
                Ok(())
            }
            ErrorKind::VersionMismatch { actual } => {
                write!(f, "the aggregate is at version {actual}, not at the expected one")
            }
            ErrorKind::CommandIdReused => {
                f.write_str("the command id was used before, for another command")
            }
            ErrorKind::Contention => f.write_str("too many commands on the same aggregate at once"),
            ErrorKind::Timeout => f.write_str("it took too long"),
            ErrorKind::Store(error) => write!(f, "the event store: {error}"),
            ErrorKind::PositionUnknown => f.write_str("the log does not reach up to the position"),
            ErrorKind::Decode(error) => error.fmt(f),
            ErrorKind::ReadModel(reason) => write!(f, "the read models stopped: {reason}"),
            ErrorKind::Misuse(message) => f.write_str(message),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self.kind() {
            ErrorKind::Handler(error) => error.source(),
            ErrorKind::Store(error) => Some(error),
            ErrorKind::Decode(error) => Some(error),
            _ => None,
        }
    }
}

/// Why one run of a handler ended without an answer: an error, or a reason to answer otherwise.
/// Generated code passes it on; it is opaque outside catga.
#[derive(Debug)]
pub struct Interrupt(pub(crate) InterruptReason);

#[derive(Debug)]
pub(crate) enum InterruptReason {
    Error(Error),
    /// The aggregate changed meanwhile: run the handler again.
    Again,
    /// The command was done before: this was its answer.
    Replay {
        reply: bytes::Bytes,
        version: Version,
        position: crate::log::Position,
    },
}

impl<E: Into<Error>> From<E> for Interrupt {
    fn from(error: E) -> Self {
        Self(InterruptReason::Error(error.into()))
    }
}

impl Interrupt {
    /// The error; a handler that only reads never ends for another reason.
    pub(crate) fn into_error(self) -> Error {
        match self.0 {
            InterruptReason::Error(error) => error,
            InterruptReason::Again | InterruptReason::Replay { .. } => ErrorKind::Contention.into(),
        }
    }
}
