//! A small app on a real socket whose paths do what a test needs: wait, break
//! off, stream, upgrade. One thread per connection; keeps every head it got.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// The request head as it arrived, and the body without its framing.
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

struct Shared {
    name: String,
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
    released: (Mutex<bool>, Condvar),
    failed_once: AtomicBool,
}

pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Backend {
    pub fn start(name: &str) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), name)
    }

    pub fn listen(listener: TcpListener, name: &str) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.into(),
            heads: Mutex::default(),
            connections: AtomicUsize::new(0),
            released: Default::default(),
            failed_once: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_thread);
                shared.connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// Lets every request that waits, or will wait, go on.
    pub fn release(&self) {
        *self.shared.released.0.lock().unwrap() = true;
        self.shared.released.1.notify_all();
    }

    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

fn serve(stream: &TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(received) = receive(&mut reader) {
        shared.heads.lock().unwrap().push(received.head.clone());
        if !answer(stream, &mut reader, shared, &received) {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn receive(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if let Some((_, length)) = lower.split_once("content-length: ") {
        body.resize(length.lines().next()?.parse().ok()?, 0);
        reader.read_exact(&mut body).ok()?;
    } else if lower.contains("transfer-encoding: chunked") {
        body = receive_chunks(reader)?;
    }
    Some(Received { head, body })
}

fn receive_chunks(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            let mut trailer = String::new();
            while !trailer.ends_with("\r\n\r\n") && trailer != "\r\n" {
                (reader.read_line(&mut trailer).ok()? > 0).then_some(())?;
            }
            body.extend_from_slice(trailer.trim_end().as_bytes());
            return Some(body);
        }
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..size]);
    }
}

/// False when the connection is to be closed.
fn answer(
    stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    shared: &Shared,
    received: &Received,
) -> bool {
    let name = shared.name.as_str();
    let path = received.head.split(' ').nth(1).unwrap_or_default();
    match path {
        "/wait" => {
            wait(shared);
            respond(stream, name)
        }
        "/head" => respond(stream, &received.head),
        "/echo" => respond(stream, &String::from_utf8_lossy(&received.body)),
        "/then-close" => ending(respond(stream, name)),
        "/fail-once" => shared.failed_once.swap(true, Ordering::SeqCst) && respond(stream, name),
        "/fail" => false,
        "/error" => write(stream, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
        "/no-length" => ending(write(stream, "HTTP/1.0 200 OK\r\n\r\nuntil close")),
        "/bare" => write(stream, "HTTP/1.1 200 OK\r\nX-Only: head\r\n\r\n"),
        "/hop" => write(
            stream,
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Authenticate: Basic\r\nX-Outer: 1\r\nContent-Length: 0\r\n\r\n",
        ),
        "/trailers" => write(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 7\r\n\r\n",
        ),
        "/stream" => {
            write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            wait(shared);
            write(stream, "later")
        }
        "/break" => ending(write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")),
        "/socket" => chat(stream, reader),
        _ => respond(stream, name),
    }
}

fn ending(_written: bool) -> bool {
    false
}

fn wait(shared: &Shared) {
    let mut released = shared.released.0.lock().unwrap();
    while !*released {
        released = shared.released.1.wait(released).unwrap();
    }
}

fn respond(stream: &TcpStream, body: &str) -> bool {
    let length = body.len();
    write(stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"))
}

fn write(mut stream: &TcpStream, text: &str) -> bool {
    stream.write_all(text.as_bytes()).is_ok()
}

/// Answers each masked text frame of up to 125 bytes with the same text, unmasked.
fn chat(mut stream: &TcpStream, reader: &mut BufReader<TcpStream>) -> bool {
    write(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    let mut head = [0; 6];
    while reader.read_exact(&mut head).is_ok() {
        let mut text = vec![0; usize::from(head[1] & 0x7f)];
        if reader.read_exact(&mut text).is_err() {
            break;
        }
        let mut frame = vec![0x81, head[1] & 0x7f];
        frame.extend(text.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask));
        if stream.write_all(&frame).is_err() {
            break;
        }
    }
    false
}
