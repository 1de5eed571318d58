//! A webhook that a test listens at: what came is handed over, and answers can be held back.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver as Inbox, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ports;
use crate::world::World;

const LONGEST: Duration = Duration::from_secs(60);

/// One request: its path and the JSON in it.
#[derive(Debug)]
pub struct Call {
    pub path: String,
    pub body: Value,
}

impl Call {
    /// What happened, and to which deployment.
    ///
    /// # Panics
    /// When it is no notification.
    pub fn id(&self) -> String {
        self.body["notification"].as_str().expect("a notification").to_owned()
    }

    /// What happened, in one word.
    ///
    /// # Panics
    /// When it is no notification.
    pub fn event(&self) -> &str {
        self.body["event"].as_str().expect("an event")
    }
}

/// Listens at an address of its own until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    _claim: File,
    calls: Inbox<Call>,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    status: AtomicU16,
    ended: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
}

/// An address at which a receiver may listen later.
pub struct Address(SocketAddr, File);

impl Address {
    /// One that nobody listens at.
    pub fn claim() -> Self {
        let (address, claim) = ports::claim();
        Self(address, claim)
    }

    /// As the configuration names it.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.0)
    }

    /// Begins to listen.
    ///
    /// # Panics
    /// When somebody else has the address.
    pub fn listen(self) -> Receiver {
        let Self(address, claim) = self;
        let listener = TcpListener::bind(address).expect("the address");
        let (sender, calls) = mpsc::channel();
        let shared = Arc::new(Shared {
            status: AtomicU16::new(200),
            ended: AtomicBool::new(false),
            held: Mutex::new(false),
            released: Condvar::new(),
        });
        let known = Arc::clone(&shared);
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if known.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (sender, known) = (sender.clone(), Arc::clone(&known));
                std::thread::spawn(move || known.answer(stream, &sender));
            }
        });
        Receiver { address, _claim: claim, calls, shared, listening: Some(listening) }
    }
}

impl Receiver {
    /// The next request.
    ///
    /// # Panics
    /// When none comes.
    pub fn next(&self) -> Call {
        self.calls.recv_timeout(LONGEST).expect("a notification")
    }

    /// Whether nothing has come that was not looked at.
    pub fn is_quiet(&self) -> bool {
        self.calls.try_recv().is_err()
    }

    /// From now on nothing is answered, until [`Receiver::release`].
    ///
    /// # Panics
    /// Never.
    pub fn hold(&self) {
        *self.shared.held.lock().expect("the gate") = true;
    }

    /// Answers what waits, and all that comes.
    ///
    /// # Panics
    /// Never.
    pub fn release(&self) {
        *self.shared.held.lock().expect("the gate") = false;
        self.shared.released.notify_all();
    }

    /// From now on this is the answer.
    pub fn answer_with(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.release();
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.listening.take().map(JoinHandle::join);
    }
}

impl Shared {
    /// A sender that was killed meanwhile gets no answer.
    fn answer(&self, stream: TcpStream, calls: &Sender<Call>) {
        let mut reader = BufReader::new(&stream);
        let mut lines = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            lines.push(std::mem::take(&mut line).trim().to_ascii_lowercase());
        }
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() || lines.is_empty() {
            return;
        }
        let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let _ = calls.send(Call { path, body });
        let held = self.held.lock().expect("the gate");
        drop(self.released.wait_while(held, |held| *held));
        let status = self.status.load(Ordering::SeqCst);
        let _ = write!(&stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}

/// Waits until no sender of notifications of this world is left.
///
/// # Panics
/// When one does not end.
pub fn await_senders(world: &World) {
    let begun = Instant::now();
    while has_sender(world) {
        assert!(begun.elapsed() < LONGEST, "a sender does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a sender of notifications of this world works now.
pub fn has_sender(world: &World) -> bool {
    let configuration = world.checkout().join("deploy.toml").display().to_string();
    command_lines().iter().any(|line| line.contains("deliver") && line.contains(&configuration))
}

/// Of all processes, with blanks between the words.
///
/// # Panics
/// When there is no /proc.
pub fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}
