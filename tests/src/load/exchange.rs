//! One HTTP/1.1 connection on a raw socket: send bytes, receive one answer, say exactly what went wrong.
//! It knows nothing of clients and never opens a second connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) opened_at: Instant,
    stream: TcpStream,
    unread: Vec<u8>,
    /// It has carried an answer before the one that is due.
    pub(super) is_reused: bool,
    /// Something of the answer that is due has come.
    pub(super) is_answered: bool,
    /// After an answer: the server would take another request.
    pub(super) stays: bool,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) revision: Option<String>,
    /// What the server made of a websocket's key.
    pub(super) accept: Option<String>,
    /// The server will not take another request on this connection.
    pub(super) closes: bool,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    pub(super) fn describe(&self) -> String {
        let text = self.text();
        let line: String = text.lines().next().unwrap_or_default().chars().take(80).collect();
        format!("answered {} {line:?}", self.status)
    }
}

impl Connection {
    pub(super) fn open(addr: SocketAddr, patience: Duration) -> Result<Self, String> {
        let opened_at = Instant::now();
        let stream =
            TcpStream::connect_timeout(&addr, patience).map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("connect: {error}"))?;
        Ok(Self { opened_at, stream, unread: Vec::new(), is_reused: false, is_answered: false, stays: false })
    }

    /// The same, for one more request.
    pub(super) fn again(self) -> Self {
        Self { is_reused: true, is_answered: false, ..self }
    }

    /// False once the server has closed it, or has sent something that nobody asked for.
    pub(super) fn is_reusable(&self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let is_quiet = peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        is_quiet && self.unread.is_empty() && self.stream.set_nonblocking(false).is_ok()
    }

    pub(super) fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), String> {
        let limit = remaining(deadline)?;
        self.stream
            .set_write_timeout(Some(limit))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(|error| format!("send: {error}"))
    }

    /// Receives one whole answer; anything less is an error.
    pub(super) fn receive(&mut self, deadline: Instant) -> Result<Reply, String> {
        let head = self.receive_head(deadline)?;
        self.receive_body(&head, deadline)
    }

    /// Receives the answer to an upgrade: where it is 101, what follows is not HTTP.
    pub(super) fn receive_upgrade(&mut self, deadline: Instant) -> Result<Reply, String> {
        let head = self.receive_until(b"\r\n\r\n", deadline)?;
        let switched = head.starts_with("HTTP/1.1 101");
        self.receive_body(&if switched { head + "\r\nContent-Length: 0" } else { head }, deadline)
    }

    fn receive_body(&mut self, head: &str, deadline: Instant) -> Result<Reply, String> {
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("not an answer: {status_line:?}"))?;
        let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
        let header = |name: &str| {
            headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let is =
            |name: &str, value: &str| header(name).is_some_and(|given| given.eq_ignore_ascii_case(value));

        let length = header("content-length").map(str::parse);
        let (body, closes) = if is("transfer-encoding", "chunked") {
            (self.receive_chunks(deadline)?, is("connection", "close"))
        } else if let Some(length) = length {
            let length = length.map_err(|error| format!("content-length: {error}"))?;
            (self.receive_exactly(length, deadline)?, is("connection", "close"))
        } else {
            (self.receive_rest(deadline)?, true)
        };
        let own = |name: &str| header(name).map(str::to_owned);
        Ok(Reply { status, revision: own("x-revision"), accept: own("sec-websocket-accept"), closes, body })
    }

    fn receive_head(&mut self, deadline: Instant) -> Result<String, String> {
        loop {
            let head = self.receive_until(b"\r\n\r\n", deadline)?;
            let is_interim = head.starts_with("HTTP/1.1 1");
            if !is_interim {
                return Ok(head);
            }
        }
    }

    fn receive_chunks(&mut self, deadline: Instant) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let size = self.receive_until(b"\r\n", deadline)?;
            let size =
                usize::from_str_radix(&size, 16).map_err(|error| format!("chunk size {size:?}: {error}"))?;
            body.extend(self.receive_exactly(size, deadline)?);
            self.receive_until(b"\r\n", deadline)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn receive_until(&mut self, end: &[u8], deadline: Instant) -> Result<String, String> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                let rest = self.unread.split_off(at + end.len());
                let line = std::mem::replace(&mut self.unread, rest);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.receive_more(deadline)? == 0 {
                let got = self.unread.len();
                let nothing = "closed without an answer".to_owned();
                return Err(if got == 0 { nothing } else { format!("head cut off after {got} bytes") });
            }
        }
    }

    pub(super) fn receive_exactly(&mut self, length: usize, deadline: Instant) -> Result<Vec<u8>, String> {
        while self.unread.len() < length {
            if self.receive_more(deadline)? == 0 {
                return Err(format!("body cut off after {} of {length} bytes", self.unread.len()));
            }
        }
        let rest = self.unread.split_off(length);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    fn receive_rest(&mut self, deadline: Instant) -> Result<Vec<u8>, String> {
        while self.receive_more(deadline)? > 0 {}
        Ok(std::mem::take(&mut self.unread))
    }

    fn receive_more(&mut self, deadline: Instant) -> Result<usize, String> {
        let mut buffer = [0; 8192];
        let got = loop {
            let limit = remaining(deadline)?;
            let got = self.stream.set_read_timeout(Some(limit)).and_then(|()| self.stream.read(&mut buffer));
            // A process that was stopped for a moment comes back to this; nothing is lost.
            if got.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
                continue;
            }
            break got;
        };
        let got = got.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => TOO_LATE.to_owned(),
            _ => format!("receive: {error}"),
        })?;
        self.unread.extend_from_slice(&buffer[..got]);
        self.is_answered |= got > 0;
        Ok(got)
    }
}

pub(super) const TOO_LATE: &str = "no whole answer in time";

fn remaining(deadline: Instant) -> Result<Duration, String> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() { Err(TOO_LATE.to_owned()) } else { Ok(remaining) }
}
