//! Where something listens: a TCP address, or the path of a unix socket. Written as app servers
//! take it: `127.0.0.1:8000`, `unix:/run/app/blue.sock`.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::quoted;

const UNIX: &str = "unix:";

/// A path for the socket `name` in an open directory, however long its own is: the path of a socket
/// may not exceed 107 bytes.
pub fn socket_within(dir: &File, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).into()
}

/// An address on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Whether somebody accepts connections there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn connect(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(address) => TcpStream::connect_timeout(address, limit).map(drop),
            // Never waits: a full queue is an error at once.
            Self::Unix(path) => UnixStream::connect(path).map(drop),
        }
    }

    /// What a request there begins with; a socket has no host of its own.
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(address) => format!("http://{address}"),
            Self::Unix(_) => "http://localhost".to_owned(),
        }
    }

    /// The port, when it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// The command that shows who listens there.
    pub fn listeners_hint(&self) -> String {
        match self {
            Self::Tcp(address) => format!("ss -ltnp 'sport = :{}'", address.port()),
            Self::Unix(path) => format!("ss -lxp src {}", quoted(path.display())),
        }
    }

    /// The command that asks `path` there.
    pub fn curl_hint(&self, path: &str) -> String {
        let url = quoted(format!("{}{path}", self.url()));
        match self {
            Self::Tcp(_) => format!("curl -si {url}"),
            Self::Unix(socket) => format!("curl -si --unix-socket {} {url}", quoted(socket.display())),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(UNIX) {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(format!("'{text}' names no absolute path")),
            None => text.parse().map(Self::Tcp).map_err(|_| format!("'{text}' is no address")),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_as_they_are_written() {
        for text in ["127.0.0.1:8000", "[::1]:80", "unix:/run/a b/blue.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in ["", "unix:", "unix:blue.sock", "localhost:80", "127.0.0.1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hints_quote_paths() {
        let hint = Address::Unix("/run/a b.sock".into()).curl_hint("/healthz");
        assert_eq!(hint, "curl -si --unix-socket '/run/a b.sock' http://localhost/healthz");
    }
}
