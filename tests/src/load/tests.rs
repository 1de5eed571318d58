//! The load must see every kind of loss, so each is produced here by a real server.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Pid, Signal, kill_process};

use super::exchange::Connection;
use super::{Answer, Cutover, Kind, Load, Loss, Plan, Stale, Tally};

const PATIENCE: Duration = Duration::from_secs(15);

/// A server whose every connection gets a thread that does `handle`.
struct Server {
    addr: SocketAddr,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    fn start(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let accept = move || {
            for stream in listener.incoming().take_while(|_| !stop.load(Ordering::SeqCst)) {
                let (stream, handle) = (stream.unwrap(), handle.clone());
                thread::spawn(move || handle(stream));
            }
        };
        Self { addr, stopping, accepting: Some(thread::spawn(accept)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        let _ = self.accepting.take().unwrap().join();
    }
}

/// Reads one request with its body; false at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> bool {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        if line == "\r\n" {
            return reader.read_exact(&mut vec![0; length]).is_ok();
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
    }
}

/// Answers every request with these bytes, then closes if they say so.
fn answer_with(answer: &'static str) -> impl Fn(TcpStream) + Clone + Send + 'static {
    move |stream| {
        let mut reader = BufReader::new(stream);
        while read_request(&mut reader) {
            if reader.get_mut().write_all(answer.as_bytes()).is_err() || answer.contains("close") {
                return;
            }
        }
    }
}

fn one_of_each() -> Plan {
    let upload_time = Duration::from_millis(10);
    Plan { fresh: 1, keep_alive: 1, slow: 1, upload: 1, write: 1, upload_time, ..Plan::default() }
}

/// Runs the load until every client has asked three times.
fn tally(addr: SocketAddr, plan: Plan) -> Tally {
    let load = Load::start(addr, plan);
    load.wait_for(3);
    load.stop()
}

fn only_losses(tally: &Tally) -> BTreeSet<&str> {
    assert_eq!(tally.ok.values().sum::<usize>(), 0, "{:?}", tally.ok);
    tally.lost.iter().map(|loss| loss.what.as_str()).collect()
}

#[test]
fn a_good_server_loses_nothing() {
    let server = Server::start(answer_with("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\none\n"));
    let tally = tally(server.addr, one_of_each());
    tally.assert_nothing_lost();
    assert_eq!(tally.markers(), ["one"]);
    assert_eq!(tally.ok.len(), 5);
    assert!(tally.ok.values().all(|ok| *ok >= 3), "{:?}", tally.ok);
    let written = i64::try_from(tally.acknowledged.len()).unwrap();
    assert!(tally.acknowledged.iter().copied().eq(1..=written));
}

#[test]
fn a_keep_alive_client_stays_on_its_connection() {
    let server = Server::start(answer_with("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"));
    let tally = tally(server.addr, Plan { keep_alive: 1, fresh: 1, ..Plan::default() });
    let opened =
        |kind| tally.answers.iter().filter(move |answer| answer.kind == kind).map(|answer| answer.opened_at);
    assert_eq!(opened(Kind::KeepAlive).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(opened(Kind::Fresh).collect::<BTreeSet<_>>().len(), opened(Kind::Fresh).count());
}

#[test]
fn the_revision_header_goes_before_the_body() {
    let server =
        Server::start(answer_with("HTTP/1.1 200 OK\r\nx-revision: abc\r\nContent-Length: 3\r\n\r\none"));
    let tally = tally(server.addr, one_of_each());
    assert_eq!(tally.markers(), ["abc"]);
    assert_eq!(tally.answers.len(), tally.ok.values().sum::<usize>());
}

#[test]
fn chunks_interim_answers_and_closing_are_understood() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\none",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none",
    ] {
        let server = Server::start(answer_with(answer));
        let tally = tally(server.addr, one_of_each());
        tally.assert_nothing_lost();
        assert_eq!(tally.markers(), ["one"], "{answer}");
    }
}

#[test]
fn a_refused_connection_is_lost() {
    // Bound but not listening: nobody else can get this port.
    let held = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&held, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let nobody = rustix::net::getsockname(&held).unwrap().try_into().unwrap();
    let tally = tally(nobody, one_of_each());
    assert_eq!(only_losses(&tally), BTreeSet::from(["connect: Connection refused (os error 111)"]));
}

#[test]
fn a_reset_is_lost() {
    // Closing a socket with unread bytes resets the connection.
    let server = Server::start(|stream| {
        let _ = stream.peek(&mut [0]);
    });
    let tally = tally(server.addr, Plan { fresh: 1, keep_alive: 1, slow: 1, ..Plan::default() });
    assert_eq!(only_losses(&tally), BTreeSet::from(["receive: Connection reset by peer (os error 104)"]));
}

#[test]
fn a_reset_upload_is_lost() {
    let server = Server::start(|stream| {
        let _ = stream.peek(&mut [0]);
    });
    let tally = tally(server.addr, Plan { upload: 1, ..Plan::default() });
    assert!(only_losses(&tally).iter().all(|what| what.contains("reset") || what.contains("Broken pipe")));
}

#[test]
fn a_close_without_an_answer_is_lost() {
    let server = Server::start(|stream| {
        read_request(&mut BufReader::new(stream));
    });
    assert_eq!(only_losses(&tally(server.addr, one_of_each())), BTreeSet::from(["closed without an answer"]));
}

#[test]
fn half_an_answer_is_lost() {
    for (answer, what) in [
        ("HTTP/1.1 200 OK\r\nContent-Le", "head cut off after 27 bytes"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "body cut off after 4 of 9 bytes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "body cut off after 4 of 9 bytes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "closed without an answer"),
    ] {
        let server = Server::start(move |stream| {
            let mut reader = BufReader::new(stream);
            read_request(&mut reader);
            let _ = reader.get_mut().write_all(answer.as_bytes());
        });
        assert_eq!(only_losses(&tally(server.addr, one_of_each())), BTreeSet::from([what]), "{answer}");
    }
}

#[test]
fn an_answer_other_than_2xx_is_lost() {
    let server =
        Server::start(answer_with("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nupstream\n"));
    let tally = tally(server.addr, one_of_each());
    assert_eq!(only_losses(&tally), BTreeSet::from(["answered 502 \"upstream\""]));
    assert!(tally.acknowledged.is_empty());
}

#[test]
fn an_upload_that_is_refused_midway_tells_the_answer() {
    let server = Server::start(|stream| {
        let mut stream = stream;
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfull");
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let tally =
        tally(server.addr, Plan { upload: 1, upload_time: Duration::from_millis(10), ..Plan::default() });
    assert_eq!(only_losses(&tally), BTreeSet::from(["answered 503 \"full\""]));
}

#[test]
fn silence_is_lost_when_patience_ends() {
    let server = Server::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let plan = Plan { fresh: 1, keep_alive: 1, patience: Duration::from_millis(60), ..Plan::default() };
    let load = Load::start(server.addr, plan);
    load.wait_for(2);
    assert_eq!(only_losses(&load.stop()), BTreeSet::from(["no whole answer in time"]));
}

#[test]
fn a_connection_closed_while_idle_is_not_reused() {
    let server = Server::start(|stream| {
        let mut reader = BufReader::new(stream);
        read_request(&mut reader);
        let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        read_request(&mut reader);
    });
    let deadline = Instant::now() + PATIENCE;
    let mut connection = Connection::open(server.addr, PATIENCE).unwrap();
    connection.send(b"GET / HTTP/1.1\r\n\r\n", deadline).unwrap();
    assert!(!connection.receive(deadline).unwrap().closes);
    assert!(connection.is_reusable());
    connection.send(b"GET / HTTP/1.1\r\n\r\n", deadline).unwrap();
    assert_eq!(connection.receive(deadline).unwrap_err(), "closed without an answer");
    assert!(!connection.is_reusable());
}

#[test]
#[should_panic(expected = "12 of 15 requests were lost; answered: {Fresh: 3}\n  Slow at 5 ms: answered 502")]
fn the_message_counts_and_shows_losses() {
    let mut tally = Tally::new(Instant::now());
    let at = tally.started_at + Duration::from_millis(5);
    let loss = Loss { kind: Kind::Slow, at, what: "answered 502".to_owned(), is_race: false };
    tally.add(Kind::Fresh, 3, vec![loss; 12], Vec::new(), Vec::new());
    tally.assert_nothing_lost();
}

#[test]
#[should_panic(expected = "no Slow request ended")]
fn a_load_that_saw_nothing_proves_nothing() {
    let mut tally = Tally::new(Instant::now());
    tally.add(Kind::Slow, 0, Vec::new(), Vec::new(), Vec::new());
    tally.assert_nothing_lost();
}

/// A tally of answers given as `(opened, answered, marker)`, in milliseconds.
fn seen(answers: &[(u64, u64, &str)]) -> Tally {
    let mut tally = Tally::new(Instant::now());
    let at = |ms| tally.started_at + Duration::from_millis(ms);
    let answer = |&(opened, answered, marker): &(u64, u64, &str)| {
        let (opened_at, answered_at) = (at(opened), at(answered));
        Answer { kind: Kind::Fresh, opened_at, asked_at: opened_at, answered_at, marker: marker.to_owned() }
    };
    let answers = answers.iter().map(answer).collect();
    tally.add(Kind::Fresh, 1, Vec::new(), answers, Vec::new());
    tally
}

fn stale(marker: &str, due: &str, late: u64) -> Stale {
    Stale {
        kind: Kind::Fresh,
        marker: marker.to_owned(),
        due: due.to_owned(),
        late: Duration::from_millis(late),
    }
}

#[test]
fn an_old_answer_on_a_new_connection_is_stale() {
    let tally = seen(&[
        (0, 1, "a"),
        (5, 9, "b"),
        (10, 11, "a"),
        (20, 21, "c"),
        (25, 26, "a"),
        (25, 27, "b"),
        (30, 31, "c"),
    ]);
    assert_eq!(tally.markers(), ["a", "b", "c"]);
    assert_eq!(tally.stale_answers(), [stale("a", "b", 1), stale("a", "c", 4), stale("b", "c", 4)]);
}

#[test]
fn an_old_answer_on_an_old_connection_is_not_stale() {
    let tally = seen(&[(0, 1, "a"), (5, 9, "b"), (0, 20, "a"), (8, 21, "a"), (9, 22, "a")]);
    assert_eq!(tally.stale_answers(), []);
}

#[test]
fn a_rollback_makes_the_old_marker_due_again() {
    let tally =
        seen(&[(0, 1, "a"), (12, 13, "b"), (22, 23, "a"), (32, 33, "b"), (33, 34, "a"), (35, 60, "b")]);
    let cutover = |marker: &str, ms| Cutover {
        marker: marker.to_owned(),
        ended_at: tally.started_at + Duration::from_millis(ms),
    };
    let there_and_back = [cutover("a", 0), cutover("b", 10), cutover("a", 20)];
    assert_eq!(tally.stale_answers_among(&there_and_back), [stale("b", "a", 12), stale("b", "a", 15)]);
    // A command that has begun but not ended may already have moved the traffic.
    let and_again = [&there_and_back[..], &[cutover("b", 50)]].concat();
    assert_eq!(tally.stale_answers_among(&and_again), []);
    let strange = [cutover("c", 0)];
    assert_eq!(tally.stale_answers_among(&strange).len(), 5, "the first connection was open before");
}

/// The fixture app, running.
struct App {
    child: Child,
    addr: SocketAddr,
}

impl App {
    fn start(database: &Path) -> Self {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tinyapp");
        let schema = std::fs::read_to_string(fixture.join("migrations/001_create_acked.up.sql")).unwrap();
        rusqlite::Connection::open(database).unwrap().execute_batch(&schema).unwrap();
        let mut child = Command::new("python3")
            .args(["-S", "-E", "app.py"])
            .current_dir(fixture)
            .envs([("PORT", "0"), ("REVISION", "abc")])
            .env("DATABASE_PATH", database)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
        let addr = format!("127.0.0.1:{}", port.unwrap()).parse().unwrap();
        Self { child, addr }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_fixture_app_finishes_what_is_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app.db");
    let mut app = App::start(&database);
    let load = Load::start(app.addr, Plan { slow_path: "/slow/50".to_owned(), ..one_of_each() });
    load.wait_for(3);

    let deadline = Instant::now() + PATIENCE;
    let mut in_flight = Connection::open(app.addr, PATIENCE).unwrap();
    in_flight.send(b"GET /slow/200 HTTP/1.1\r\n\r\n", deadline).unwrap();
    kill_process(Pid::from_child(&app.child), Signal::TERM).unwrap();
    let reply = in_flight.receive(deadline).unwrap();
    assert_eq!((reply.status, reply.closes), (200, true));
    assert!(app.child.wait().unwrap().success());

    let tally = load.stop();
    assert!(tally.ok.values().all(|ok| *ok >= 3), "{:?}", tally.ok);
    assert!(tally.lost.iter().all(|loss| !loss.what.contains("cut off")), "{:?}", tally.lost);
    assert_eq!(tally.markers(), ["abc"]);
    let rows = rusqlite::Connection::open(&database).unwrap();
    let mut rows = rows.prepare("SELECT n FROM acked").unwrap();
    let rows: BTreeSet<i64> = rows.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(rows.is_superset(&tally.acknowledged));
}
