//! The kernel's tables of listening sockets, TCP and unix.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::address::Address;

const LISTEN: &str = "0A";
const ESTABLISHED: &str = "01";
const ROW: usize = 128;
/// The flag of a unix socket that accepts connections.
const ACCEPTS: &str = "00010000";
/// States of a unix socket: not accepted yet, and connected.
const CONNECTED: [&str; 2] = ["02", "03"];

/// One listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) uid: u32,
    pub(super) inode: u64,
}

/// A row of a TCP table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    address: SocketAddr,
    socket: Socket,
}

/// The listening sockets that a connection to each of these addresses could reach, in the same order.
/// The table of TCP is read once: it holds every connection of the host.
pub(super) fn listening(addresses: &[Address]) -> io::Result<Vec<Vec<Socket>>> {
    let is_tcp = |address: &Address| matches!(address, Address::Tcp(_));
    let rows = if addresses.iter().any(is_tcp) { tcp_rows()? } else { Vec::new() };
    let sockets = addresses.iter().map(|address| match address {
        Address::Tcp(address) => {
            Ok(rows.iter().filter(|row| row.serves(*address)).map(|row| row.socket).collect())
        }
        Address::Unix(path) => unix(path),
    });
    sockets.collect()
}

fn tcp_rows() -> io::Result<Vec<Row>> {
    let mut rows = read_table("/proc/net/tcp")?;
    match read_table("/proc/net/tcp6") {
        Ok(six) => rows.extend(six),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(rows)
}

/// The socket file says whose it is; the table names it by the path that it was bound to.
fn unix(path: &Path) -> io::Result<Vec<Socket>> {
    let uid = match fs::metadata(path) {
        Ok(file) => file.uid(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let path = path.canonicalize()?;
    let table = fs::read("/proc/net/unix")?;
    let rows = String::from_utf8_lossy(&table);
    let inodes = rows.lines().filter_map(parse_unix).filter(|(_, bound)| Path::new(bound) == path);
    Ok(inodes.map(|(inode, _)| Socket { uid, inode }).collect())
}

/// Columns: address, references, protocol, flags, type, state, inode (padded), path.
fn parse_unix(line: &str) -> Option<(u64, &str)> {
    let mut columns = line.split_ascii_whitespace();
    let (flags, inode) = (columns.nth(3)?, columns.nth(2)?);
    let path = &line[line.find('/')?..];
    Some((inode.parse().ok()?, path)).filter(|_| flags == ACCEPTS)
}

/// How many connections to `address` are open.
pub(super) fn connections(address: &Address) -> io::Result<usize> {
    match address {
        Address::Tcp(address) => tcp_connections(*address),
        Address::Unix(path) => {
            let table = fs::read("/proc/net/unix")?;
            let rows = String::from_utf8_lossy(&table);
            // The server's end has the path of the listener, from the moment of the connect.
            Ok(rows.lines().filter_map(parse_accepted).filter(|bound| Path::new(bound) == path).count())
        }
    }
}

/// The clients' ends, which are on this host.
fn tcp_connections(address: SocketAddr) -> io::Result<usize> {
    let mut count = 0;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs::read_to_string(table) {
            Ok(text) => count += text.lines().filter(|row| leads_to(row, address)).count(),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn leads_to(row: &str, address: SocketAddr) -> bool {
    let columns: Vec<&str> = row.split_ascii_whitespace().take(4).collect();
    let remote = columns.get(2).and_then(|remote| parse_address(remote));
    columns.get(3) == Some(&ESTABLISHED)
        && remote.is_some_and(|remote| {
            (remote.port(), remote.ip().to_canonical()) == (address.port(), address.ip().to_canonical())
        })
}

/// The path of a connection's server end.
fn parse_accepted(line: &str) -> Option<&str> {
    let mut columns = line.split_ascii_whitespace();
    let (flags, state) = (columns.nth(3)?, columns.nth(1)?);
    let path = &line[line.find('/')?..];
    Some(path).filter(|_| flags != ACCEPTS && CONNECTED.contains(&state))
}

/// The rows of listening sockets, which the kernel lists first. Read a row at a time: a larger
/// buffer would make the kernel walk all connections of the host to fill it.
fn read_table(path: &str) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in BufReader::with_capacity(ROW, File::open(path)?).lines().skip(1) {
        match parse(&line?) {
            Some(row) => rows.push(row),
            None => break,
        }
    }
    Ok(rows)
}

impl Row {
    fn serves(&self, address: SocketAddr) -> bool {
        let own = self.address.ip().to_canonical();
        let asked = address.ip().to_canonical();
        self.address.port() == address.port()
            && (own == asked || own.is_unspecified() || asked.is_unspecified())
    }
}

/// Columns: number, local address, remote address, state, queues, timer, retransmits, uid,
/// timeout, inode, …
fn parse(line: &str) -> Option<Row> {
    let columns: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    if columns.get(3) != Some(&LISTEN) {
        return None;
    }
    let (uid, inode) = (columns.get(7)?.parse().ok()?, columns.get(9)?.parse().ok()?);
    Some(Row { address: parse_address(columns[1])?, socket: Socket { uid, inode } })
}

fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    Some(SocketAddr::new(parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?))
}

/// The kernel prints an address as words in its own byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let four = <[u8; 4]>::try_from(bytes.as_slice()).map(|bytes| Ipv4Addr::from(bytes).into());
    four.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_are_read_as_the_kernel_prints_them() {
        let four = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 45 1 0 100 0 0 10 0";
        let mapped = "   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 46 1";
        let busy = four.replace(" 0A ", " 01 ");
        let parsed = parse(four).unwrap();
        let socket = Socket { uid: 1000, inode: 45 };
        assert_eq!(parsed, Row { address: "127.0.0.1:8080".parse().unwrap(), socket });
        assert!(parse(mapped).unwrap().serves("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(parse(&busy), None);
        assert_eq!(parse("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn wildcards_compete_and_other_addresses_do_not() {
        let row =
            |address: &str| Row { address: address.parse().unwrap(), socket: Socket { uid: 0, inode: 1 } };
        let asked = "127.0.0.1:80".parse().unwrap();
        for competitor in ["127.0.0.1:80", "0.0.0.0:80", "[::]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(row(competitor).serves(asked), "{competitor}");
        }
        for other in ["127.0.0.2:80", "127.0.0.1:81", "[::1]:80"] {
            assert!(!row(other).serves(asked), "{other}");
        }
        assert!(row("127.0.0.1:80").serves("0.0.0.0:80".parse().unwrap()));
    }

    #[test]
    fn open_connections_are_counted_while_both_ends_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let count = || connections(&Address::Unix(path.clone())).unwrap();
        assert_eq!(count(), 0);
        let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(count(), 1);
        let accepted = listener.accept().unwrap();
        assert_eq!(count(), 1);
        drop(accepted);
        await_closed(&Address::Unix(path.clone()));
        drop(waiting);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(connections(&address.into()).unwrap(), 1);
        drop(client);
        await_closed(&address.into());
    }

    /// A program that another test is just starting has a copy of the descriptor for a moment.
    fn await_closed(address: &Address) {
        let begun = std::time::Instant::now();
        while connections(address).unwrap() > 0 {
            assert!(begun.elapsed().as_secs() < 10, "{address} is still connected");
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_unix_sockets_that_accept_connections_count() {
        let row = "0000000000000000: 00000002 00000000 00010000 0001 01   123 /run/a b.sock";
        assert_eq!(parse_unix(row), Some((123, "/run/a b.sock")));
        let connected = "0000000000000000: 00000003 00000000 00000000 0001 03 33186 /run/a b.sock";
        assert_eq!(parse_unix(connected), None);
        assert_eq!(parse_unix("Num       RefCount Protocol Flags    Type St Inode Path"), None);
        assert_eq!(parse_unix("0000000000000000: 00000002 00000000 00010000 0001 01 123 @abstract"), None);
    }
}
