//! `status serve`: answers over HTTP how all environments of a state directory stand. Reads only.
//!
//! `sockets` is where it listens, `caller` who may see what, `asked` a question, `endpoints`,
//! `metrics` and `events` the answers, `refusal` the others; `snapshot` and `health` are
//! looked at once a second at most (`fresh`), from what `source` keeps open.

mod asked;
mod caller;
mod cursor;
mod endpoints;
mod events;
mod fresh;
mod health;
mod metrics;
mod refusal;
mod router;
mod snapshot;
mod sockets;
mod source;

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::cli::Run;
use common::config::Config;
use common::ledger::Ledger;
use common::report::{OrProblem, Problem};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

pub(crate) use asked::Asked;
use caller::Door;
pub(crate) use caller::View;
pub(crate) use cursor::Cursor;
pub(crate) use endpoints::{broken, shown};
use fresh::Fresh;
use health::Health;
pub(crate) use refusal::Refusal;
pub(crate) use snapshot::Seen;
use snapshot::Snapshot;
use sockets::Sockets;
pub(crate) use source::Setting;
use source::{Source, unpoisoned};

/// Looks take threads of their own. An app that does not answer keeps one for as long as it is waited for.
const LOOKERS: usize = 16;
/// So many listen to events at once.
const MOST_STREAMS: usize = 256;
/// How long answers under way are waited for at the end.
const GRACE: Duration = Duration::from_secs(2);

/// What all answers share.
pub(crate) struct Server {
    source: Arc<Source>,
    snapshot: Arc<Fresh<Snapshot>>,
    health: Mutex<BTreeMap<String, Arc<Fresh<Health>>>>,
    pulse: Arc<watch::Sender<i64>>,
    streams: Arc<Semaphore>,
    /// Whether it is about to end.
    ending: watch::Sender<bool>,
}

impl Server {
    fn new(config: Config) -> Result<Self, Problem> {
        let source = Arc::new(Source::new(config)?);
        let pulse = Arc::new(watch::Sender::new(0));
        Ok(Self {
            source,
            snapshot: Arc::default(),
            health: Mutex::default(),
            pulse,
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            ending: watch::Sender::new(false),
        })
    }

    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        let source = Arc::clone(&self.source);
        self.snapshot.get(move || Snapshot::take(&source)).await
    }

    async fn health(&self, name: &str) -> Result<Arc<Health>, Problem> {
        let known = Arc::clone(unpoisoned(&self.health).entry(name.to_owned()).or_default());
        let (source, name) = (Arc::clone(&self.source), name.to_owned());
        known.get(move || Health::probe(&source, &name)).await
    }

    /// Asks the ledger beside everything else.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Option<&Ledger>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let source = Arc::clone(&self.source);
        aside(move || source.ask(question)).await?
    }

    /// Ends when a signal has come.
    async fn ended(self: Arc<Self>) {
        let _ = self.ending.subscribe().wait_for(|ends| *ends).await;
    }
}

/// Does what takes a while beside everything else.
///
/// # Errors
/// `status-broken`.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.or_problem("status-broken", || "this look failed".into())
}

/// Serves until a signal comes.
///
/// # Errors
/// `status-served` when another one does already, `address-taken`, `state-unwritable`; those of the
/// token.
pub(crate) fn serve(run: &mut Run, config: Config, listen: Option<SocketAddr>) -> Result<(), Problem> {
    let listen = listen.or(config.status.as_ref().and_then(|status| status.listen).map(|listen| listen.0));
    let sockets = Sockets::open(&config, listen)?;
    let server = Arc::new(Server::new(config)?);
    if let Some(address) = sockets.address() {
        run.note(&format!("http://{address}/_deploy/"));
        run.detail("address", address.to_string());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKERS)
        .build()
        .or_problem("status-broken", || "cannot begin to serve".into())?;
    let ended = runtime.block_on(answer(&server, sockets));
    // A look may take its time; nobody waits for it any more.
    runtime.shutdown_background();
    ended.or_problem("status-broken", || "cannot go on serving".into())
}

async fn answer(server: &Arc<Server>, sockets: Sockets) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(events::beat(Arc::clone(&server.source), Arc::clone(&server.pulse)));
    let (own, gateways) = sockets.listeners()?;
    let behind = router::router(server, Door::Gateways);
    let ended = || Arc::clone(server).ended();
    let own = async {
        match own {
            Some(listener) => {
                let router = router::router(server, Door::Own);
                axum::serve(listener, router).with_graceful_shutdown(ended()).await
            }
            None => Ok(()),
        }
    };
    let behind = axum::serve(gateways, behind).with_graceful_shutdown(ended()).into_future();
    let both = async { tokio::try_join!(own, behind).map(drop) };
    tokio::pin!(both);
    tokio::select! {
        ended = &mut both => return ended,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    server.ending.send_replace(true);
    // Who does not read is not waited for.
    tokio::time::timeout(GRACE, both).await.unwrap_or(Ok(()))
}
