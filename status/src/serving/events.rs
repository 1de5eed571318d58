//! `/_deploy/events`: what happens in the ledger, while it happens, as server-sent events. A client
//! that comes back with the id of the last one misses none and sees none twice.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use common::ledger::Ledger;
use common::report::{Problem, now};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Server;
use super::asked::Asked;
use super::caller::View;
use super::cursor::{Cursor, News, What};
use super::endpoints::{broken, of_row, of_step};
use super::refusal::Refusal;
use super::source::{Setting, Source};

/// How soon a commit to the ledger is noticed.
const PULSE: Duration = Duration::from_millis(200);
/// Whoever is in between closes a silent connection.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// One client's stream.
struct Stream {
    server: Arc<Server>,
    /// By which it was let in.
    setting: Arc<Setting>,
    names: Vec<String>,
    view: View,
    cursor: Cursor,
    waiting: VecDeque<News>,
    pulse: watch::Receiver<i64>,
    ending: watch::Receiver<bool>,
    /// What there is to tell may be more than the last look has found.
    may_have_more: bool,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn events(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, Refusal> {
    let view = asked.of("events", &["after"])?;
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?").parse());
    let last: Option<Cursor> =
        last.transpose().map_err(|why: String| Refusal::senseless(format!("Last-Event-ID: {why}")))?;
    let given = last.or(asked.parameter("after", str::parse)?);
    let place = Arc::clone(&server.streams).try_acquire_owned().map_err(|_| Refusal::crowded())?;
    let (pulse, names) = (server.pulse.subscribe(), asked.names);
    let cursor = if let Some(mut cursor) = given {
        cursor.keep(&names);
        cursor
    } else {
        let names = names.clone();
        let now = server.ask(move |ledger| Cursor::now(ledger, &names));
        now.await.map_err(|problem| broken(&problem, view))?
    };
    let stream = Stream {
        ending: server.ending.subscribe(),
        server,
        setting: asked.setting,
        names,
        view,
        cursor,
        waiting: VecDeque::new(),
        pulse,
        may_have_more: true,
        _place: place,
    };
    let events = unfold(stream, |mut stream| async {
        let news = stream.next().await?;
        Some((Ok::<_, Infallible>(tell(&news, stream.view)), stream))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE).text("all is quiet"))
        .into_response())
}

impl Stream {
    /// Waits for the next; `None` when the server ends.
    async fn next(&mut self) -> Option<News> {
        loop {
            if let Some(news) = self.waiting.pop_front() {
                return Some(news);
            }
            if !self.may_have_more {
                tokio::select! {
                    changed = self.pulse.changed() => changed.ok()?,
                    _ = self.ending.wait_for(|ends| *ends) => return None,
                }
            }
            // Who was let in by another configuration comes back, and is asked who he is.
            self.server.source.look_again();
            if *self.ending.borrow() || !Arc::ptr_eq(&self.setting, &self.server.source.setting()) {
                return None;
            }
            self.look().await.ok()?;
        }
    }

    /// A ledger that cannot be read ends the stream; the client comes back by itself.
    async fn look(&mut self) -> Result<(), Problem> {
        let (mut cursor, names) = (self.cursor.clone(), self.names.clone());
        let (cursor, news) = self
            .server
            .ask(move |ledger| {
                let news = cursor.take(ledger, &names)?;
                Ok((cursor, news))
            })
            .await?;
        self.cursor = cursor;
        self.may_have_more = !news.is_empty();
        self.waiting.extend(news);
        Ok(())
    }
}

fn tell(news: &News, view: View) -> Event {
    let row = &news.row;
    let (kind, data) = match &news.what {
        What::Began => ("deployment", json!({"deployment": began(of_row(row, view))})),
        What::Turned => ("deployment", json!({"deployment": of_row(row, view)})),
        What::Step(number, step) => {
            let step = of_step(step, view);
            let (environment, id) = (&row.environment, &row.id);
            ("step", json!({"environment": environment, "id": id, "number": number, "step": step}))
        }
    };
    Event::default().id(news.cursor.to_string()).event(kind).data(data.to_string())
}

/// A row as it was when it began, however it stands by now.
fn began(mut row: Value) -> Value {
    for (name, value) in [("state", json!("running")), ("outcome", Value::Null), ("duration_ms", Value::Null)]
    {
        row[name] = value;
    }
    row
}

/// Notices commits, as long as anybody listens.
pub(super) async fn beat(source: Arc<Source>, pulse: Arc<watch::Sender<i64>>) {
    loop {
        tokio::time::sleep(PULSE).await;
        if pulse.receiver_count() == 0 {
            continue;
        }
        let source = Arc::clone(&source);
        let version = tokio::task::spawn_blocking(move || {
            source.ask(|ledger| ledger.map_or(Ok(0), Ledger::data_version))
        });
        // When it cannot be read, each stream finds that out for itself.
        let version = version.await.ok().and_then(Result::ok).unwrap_or_else(|| now().as_millisecond());
        pulse.send_if_modified(|known| std::mem::replace(known, version) != version);
    }
}
