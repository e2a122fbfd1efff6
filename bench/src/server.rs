//! A server as a child process.

use std::{error::Error, ffi::OsStr, net::SocketAddr, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Starts a program that says on its first line where it listens. It is killed when dropped.
///
/// # Errors
/// When it can't be started, or says something else.
pub async fn start(
    program: &Path,
    flags: &[impl AsRef<OsStr>],
) -> Result<(Child, SocketAddr), Box<dyn Error>> {
    let mut child = Command::new(program)
        .args(flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("it has an output")?).lines();
    let line = lines.next_line().await?.ok_or("it did not start")?;
    let address = line.strip_prefix("listening on http://").ok_or("another line")?.parse()?;
    Ok((child, address))
}
