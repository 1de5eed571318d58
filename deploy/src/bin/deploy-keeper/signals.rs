//! What the keeper is told from outside, and the one place where it sleeps.
//! SIGTERM stops, SIGHUP upgrades, SIGCHLD only wakes, SIGINT is swallowed.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

#[derive(Debug)]
pub(crate) struct Signals {
    stop: Arc<AtomicBool>,
    upgrade: Arc<AtomicBool>,
    wake: UnixStream,
}

impl Signals {
    pub(crate) fn register() -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let upgrade = Arc::new(AtomicBool::new(false));
        flag::register(SIGTERM, Arc::clone(&stop))?;
        flag::register(SIGHUP, Arc::clone(&upgrade))?;
        // A handler and not SIG_IGN: the child would inherit SIG_IGN.
        flag::register(SIGINT, Arc::default())?;
        for signal in [SIGTERM, SIGHUP, SIGCHLD] {
            pipe::register(signal, waker.try_clone()?)?;
        }
        Ok(Self { stop, upgrade, wake })
    }

    pub(crate) fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// True once for each request.
    pub(crate) fn take_upgrade_request(&self) -> bool {
        self.upgrade.swap(false, Ordering::SeqCst)
    }

    /// Sleeps until a signal arrives or `limit` has passed.
    pub(crate) fn wait(&self, limit: Option<Duration>) {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        // Interrupted or not, the caller looks at everything again.
        let _ = poll(&mut [PollFd::new(&self.wake, PollFlags::IN)], limit.as_ref());
        let mut bytes = [0; 64];
        while (&self.wake).read(&mut bytes).is_ok_and(|count| count > 0) {}
    }
}
