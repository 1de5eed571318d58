//! One plain HTTP request on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Sends a request without a body; gives status and body.
///
/// # Errors
/// What the socket said, or that the answer was no HTTP.
pub fn request(address: SocketAddr, method: &str, path: &str) -> std::io::Result<(u16, String)> {
    exchange(address, method, path, &[]).map(|(status, _, body)| (status, body))
}

/// Asks for a page; gives status and head.
///
/// # Errors
/// As [`request`].
pub fn head(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    exchange(address, "GET", path, &[]).map(|(status, head, _)| (status, head))
}

/// Sends a request with further headers, each a whole line; gives status, head and body. A header
/// `Host` takes the place of ours.
///
/// # Errors
/// As [`request`].
pub fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
) -> std::io::Result<(u16, String, String)> {
    let host = if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { "Host: test\r\n" };
    let headers = [headers, &[""]].concat().join("\r\n");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
    let status =
        head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((status, head.to_owned(), body.to_owned()))
}
