//! Making nginx load our file, and knowing that it has: it is asked on fresh connections until it
//! says so, and until every worker with the former file takes no new connection any more.

use std::fs;
use std::time::{Duration, Instant};

use super::gate::unseen;
use super::include::{self, Facts, Loaded};
use super::{ANSWER, Client, PAUSE, Target, active, workers};
use crate::durable;
use crate::fault;
use crate::http;
use crate::report::{OrProblem, Problem};

/// Where nginx tells what it has loaded.
pub(super) const PROOF: &str = "/_deploy/gateway";
/// A thousand server blocks on a busy host take one second.
const EFFECTIVE: Duration = Duration::from_secs(10);
/// How long a reload of a run that was cut off may still come.
const PENDING: Duration = Duration::from_secs(3);

impl Client {
    /// What nginx has loaded, asked on a fresh connection; the error says what came instead.
    pub(super) fn ask(&self) -> Result<Loaded, String> {
        let (status, body) = http::text(&self.listen.reachable().into(), PROOF, ANSWER)?;
        if status != 200 {
            return Err(format!("answers {status}"));
        }
        let loaded: Loaded = serde_json::from_str(&body).map_err(|_| "answers something else".to_owned())?;
        if loaded.facts.name == include::name(&self.place) {
            Ok(loaded)
        } else {
            Err(format!("speaks for '{}'", loaded.facts.environment))
        }
    }

    /// Makes nginx load `facts`, unless it has.
    pub(super) fn load(&self, facts: &Facts) -> Result<(), Problem> {
        self.settle()?;
        let path = include::path(&self.place);
        let (former, text) = (fs::read_to_string(&path).unwrap_or_default(), facts.render());
        let write = |text: &str| {
            durable::write(&path, text.as_bytes())
                .or_problem("state-unwritable", || format!("cannot write {}", path.display()))
        };
        if former != text {
            write(&text)?;
        }
        if self.ask().is_ok_and(|loaded| loaded.hash == facts.hash()) {
            return Ok(());
        }
        let loaded = self.nginx.test().and_then(|()| self.reload(facts));
        if let Err(problem) = loaded {
            write(&former)?;
            // It may have come too late for us, and still come.
            if problem.kind == "nginx-not-switched" && self.nginx.test().is_ok() {
                let _ = self.nginx.reload();
            }
            return Err(problem);
        }
        Ok(())
    }

    /// Whether nginx has loaded what our file says, will load nothing else, and sends requests there.
    pub(in crate::gateway) fn has_never_left(&self, target: &Target) -> bool {
        let written = include::read(&self.place).map(|facts| facts.hash());
        self.settle().is_ok()
            && self.ask().is_ok_and(|loaded| {
                Some(&loaded.hash) == written.as_ref()
                    && active(&self.place, &loaded.facts).as_ref() == Some(target)
            })
    }

    /// A run that was cut off may have told nginx to load its file a moment ago. Which workers are old
    /// can be told only when that has happened, or will not.
    fn settle(&self) -> Result<(), Problem> {
        let begun = Instant::now();
        while workers::is_reload_pending(&self.place) {
            if begun.elapsed() > PENDING {
                return workers::forget_staying(&self.place);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The exit status of a reload says nothing: nginx loads the file later, or not at all.
    fn reload(&self, facts: &Facts) -> Result<(), Problem> {
        let before = self.ask().map_err(|why| self.not_switched(&why))?;
        let workers = workers::master_of(before.worker).map(workers::of_master).unwrap_or_default();
        if workers.is_empty() {
            return Err(unseen(&before));
        }
        workers::remember(&self.place, &workers)?;
        fault::point("nginx.before-reload");
        self.nginx.reload()?;
        fault::point("nginx.after-reload");
        let (begun, wanted) = (Instant::now(), facts.hash());
        loop {
            // Until then one of them may still take a new connection.
            let gone = workers.iter().all(|worker| worker.has_let_go());
            let why = match gone.then(|| self.ask()) {
                Some(Ok(loaded)) if loaded.hash == wanted => return Ok(()),
                Some(Err(why)) => why,
                Some(Ok(_)) | None => "it goes on with what it had".to_owned(),
            };
            if begun.elapsed() > EFFECTIVE {
                return Err(self.not_switched(&why));
            }
            std::thread::sleep(PAUSE);
        }
    }

    pub(super) fn not_switched(&self, why: &str) -> Problem {
        let seconds = EFFECTIVE.as_secs();
        Problem::new("nginx-not-switched", format!("nginx did not load our file within {seconds} s"))
            .detail(format!("{PROOF}: {why}; its error log says more"))
            .hint(format!("{0} -T | grep error_log", self.nginx.command))
    }
}
