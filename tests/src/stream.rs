//! Server-sent events, read from a connection of their own as they come.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub data: Value,
}

/// An open stream.
pub struct Stream {
    lines: BufReader<TcpStream>,
}

impl Stream {
    /// Asks for the stream at `path`; each header is a whole line.
    ///
    /// # Panics
    /// When it does not begin.
    pub fn open(address: SocketAddr, path: &str, headers: &[&str]) -> Self {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        let headers = [headers, &[""]].concat().join("\r\n");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").expect("a request");
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).expect("a head") > 0, "it ended: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Self { lines }
    }

    /// Waits for the next event; `None` when the stream has ended.
    ///
    /// # Panics
    /// When nothing comes for a minute.
    pub fn take(&mut self) -> Option<Event> {
        let mut event = Event { id: String::new(), kind: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("an event in time") == 0 {
                return None;
            }
            // Between them stand the lengths of chunks.
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("event", kind)) => kind.clone_into(&mut event.kind),
                Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                _ if line.trim().is_empty() && !event.kind.is_empty() && !event.data.is_null() => {
                    return Some(event);
                }
                _ => {}
            }
        }
    }

    /// All events up to the one that `is_last` names.
    ///
    /// # Panics
    /// When the stream ends before.
    pub fn until(&mut self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.take().expect("more events");
            events.push(event);
            if events.last().is_some_and(&is_last) {
                return events;
            }
        }
    }
}
