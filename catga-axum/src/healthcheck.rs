//! `healthcheck`: whether a running server is ready, for who can only run a program.

use std::{
    collections::HashSet,
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use crate::{cli::Serve, serve::complain};

/// Asks a server whether it is ready: the one at the address that the command line names, or else the one that runs
/// beside this process. An image's health check can't know the flags that a container is given.
pub(crate) fn healthcheck(flags: &Serve, names_address: bool) -> ExitCode {
    let running = if names_address { None } else { running() };
    let named = || (flags.host.as_str(), flags.port).to_socket_addrs().map(Iterator::collect);
    let addresses: std::io::Result<Vec<_>> =
        running.map_or_else(named, |address| Ok(vec![address]));
    let mut why = format!("{}:{} is no address", flags.host, flags.port);
    for address in addresses.unwrap_or_default() {
        why = match ask(address) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => return ExitCode::SUCCESS,
            Ok(answer) => {
                format!("{address} is not ready: {}", answer.lines().next().unwrap_or("no answer"))
            }
            Err(error) => format!("{address} can't be asked (--host, --port): {error}"),
        };
    }
    complain(&why);
    ExitCode::FAILURE
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let limit = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream
        .write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Where the one other process of this program listens, as Linux tells; `None` when there is none, or several.
fn running() -> Option<SocketAddr> {
    let of = |process: &str| -> Option<[PathBuf; 2]> {
        let link = |name| fs::read_link(format!("/proc/{process}/{name}")).ok();
        Some([link("exe")?, link("ns/net")?])
    };
    let (own, id) = (of("self")?, std::process::id().to_string());
    let processes =
        fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let others =
        processes.filter(|process| *process != id && of(process).is_some_and(|other| other == own));
    let mut addresses = others.filter_map(|process| listens(&process));
    addresses.next().filter(|_| addresses.next().is_none())
}

/// Where a process listens.
fn listens(process: &str) -> Option<SocketAddr> {
    let files = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    let files = files.filter_map(|file| {
        fs::read_link(file.ok()?.path()).ok()?.into_os_string().into_string().ok()
    });
    let inode = |file: String| Some(file.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    let sockets: HashSet<_> = files.filter_map(inode).collect();
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{process}/net/{table}")));
    tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .find_map(|line| listening(line, &sockets))
}

/// Where to connect to the socket of a line of `/proc/net/tcp`, if it is one of `sockets` and listens.
fn listening(line: &str, sockets: &HashSet<String>) -> Option<SocketAddr> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, *fields.get(3)?, *fields.get(9)?);
    if state != "0A" || !sockets.contains(inode) {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    // Words of 32 bits in hexadecimal, with the bytes as they are in memory.
    let words = (0..address.len() / 8).map(|i| address.get(i * 8..i * 8 + 8));
    let words =
        words.map(|word| u32::from_str_radix(word?, 16).ok()).collect::<Option<Vec<_>>>()?;
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let address = match *bytes.as_slice() {
        [a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        ref bytes => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    let address = match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn it_is_found_where_a_process_listens() {
        let sockets = HashSet::from(["7".to_owned()]);
        let line = |local: &str, state: &str, inode: &str| {
            let line = format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1 0"
            );
            listening(&line, &sockets).map(|address| address.to_string())
        };
        if cfg!(target_endian = "little") {
            let local = "0100007F:1F90";
            assert_eq!(line(local, "0A", "7").as_deref(), Some("127.0.0.1:8080"));
            assert_eq!((line(local, "01", "7"), line(local, "0A", "8")), (None, None));
            assert_eq!(line("00000000:1F90", "0A", "7").as_deref(), Some("127.0.0.1:8080"));
            let six = "00000000000000000000000001000000:1F90";
            assert_eq!(line(six, "0A", "7").as_deref(), Some("[::1]:8080"));
            assert_eq!(line(&six.replace("01", "00"), "0A", "7").as_deref(), Some("[::1]:8080"));
        }
        assert_eq!(listening("  sl  local_address rem_address st", &sockets), None);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let process = std::process::id().to_string();
        if let Some(found) = listens(&process) {
            assert_eq!(found, listener.local_addr().unwrap());
        }
    }
}
