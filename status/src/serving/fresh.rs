//! A value that is found out again when it is older than a second, by one asker at a time: however
//! many ask, a look costs once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::report::Problem;

use super::source::unpoisoned;

const LIMIT: Duration = Duration::from_secs(1);

/// What was found, or why it could not be.
type Found<T> = Result<Arc<T>, Problem>;

/// The value, when it was asked for before.
pub(crate) struct Fresh<T> {
    known: Mutex<Option<(Instant, Found<T>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self { known: Mutex::new(None), turn: tokio::sync::Mutex::new(()) }
    }
}

impl<T: Send + Sync + 'static> Fresh<T> {
    /// At most a second old. An asker who leaves does not keep others from the answer.
    pub(crate) async fn get(
        self: &Arc<Self>,
        find: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Found<T> {
        if let Some(found) = self.recent() {
            return found;
        }
        let this = Arc::clone(self);
        let search = tokio::spawn(async move {
            let _one_at_a_time = this.turn.lock().await;
            if let Some(found) = this.recent() {
                return found;
            }
            let found =
                tokio::task::spawn_blocking(find).await.unwrap_or_else(|_| Err(broken())).map(Arc::new);
            *unpoisoned(&this.known) = Some((Instant::now(), found.clone()));
            found
        });
        search.await.unwrap_or_else(|_| Err(broken()))
    }

    fn recent(&self) -> Option<Found<T>> {
        let known = unpoisoned(&self.known);
        known.as_ref().filter(|(at, _)| at.elapsed() < LIMIT).map(|(_, found)| found.clone())
    }
}

fn broken() -> Problem {
    Problem::new("status-broken", "this look failed").hint("status all")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_hundred_askers_cost_one_look_and_a_failed_look_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (value, looks) = (Arc::new(Fresh::default()), Arc::new(AtomicUsize::new(0)));
            let askers: Vec<_> = (0..100)
                .map(|_| {
                    let (value, looks) = (Arc::clone(&value), Arc::clone(&looks));
                    tokio::spawn(async move {
                        value.get(move || Ok(looks.fetch_add(1, Ordering::SeqCst))).await.map(|found| *found)
                    })
                })
                .collect();
            for asker in askers {
                assert_eq!(asker.await.unwrap(), Ok(0));
            }
            assert_eq!(looks.load(Ordering::SeqCst), 1);
            let broken: Arc<Fresh<()>> = Arc::default();
            let told = broken.get(|| Err(Problem::new("ledger-unreadable", "x"))).await;
            assert_eq!(told.unwrap_err().kind, "ledger-unreadable");
        });
    }
}
