//! Fault points: places where a test may break in. Release builds have none.
//!
//! `DEPLOY_FAULT` holds one fault a line, `TOOL:POINT#N=KIND`: at the Nth pass of the point the tool
//! aborts (`abort`, also without a kind), gets a signal (`sigterm`, `sigint`), loses the next program
//! that it starts (`child`), or waits for a shell command (`run:COMMAND`, which finds the point's name
//! in `$POINT`). The point `*` is every point.
//! `DEPLOY_FAULT_TRACE=FILE` notes each pass; passes are then counted over all tools of one run.

/// Passes a named point.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    armed::pass(name);
}

/// Passes a named point: nothing, in a release build.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}

/// Whether a fault takes the program that was started just now.
#[cfg(debug_assertions)]
pub fn takes_child() -> bool {
    armed::takes_child()
}

/// Whether a fault takes the program that was started just now: never, in a release build.
#[cfg(not(debug_assertions))]
pub fn takes_child() -> bool {
    false
}

#[cfg(debug_assertions)]
mod armed {
    use std::collections::HashMap;
    use std::env;
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::process::{Command, Stdio, abort};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    const FAULT: &str = "DEPLOY_FAULT";
    const TRACE: &str = "DEPLOY_FAULT_TRACE";

    static PASSED: LazyLock<Mutex<HashMap<String, usize>>> = LazyLock::new(Mutex::default);
    static FAULTS: LazyLock<Option<String>> = LazyLock::new(|| env::var(FAULT).ok());
    static TRACES: LazyLock<Option<String>> = LazyLock::new(|| env::var(TRACE).ok());
    static TAKES_CHILD: AtomicBool = AtomicBool::new(false);

    pub(super) fn takes_child() -> bool {
        TAKES_CHILD.swap(false, Ordering::SeqCst)
    }

    pub(super) fn pass(name: &str) {
        if FAULTS.is_none() && TRACES.is_none() {
            return;
        }
        let point = numbered(name);
        for fault in FAULTS.as_deref().unwrap_or_default().lines() {
            let (place, kind) = fault.split_once('=').unwrap_or((fault, "abort"));
            if place == point || place == "*" {
                strike(kind, &point);
            }
        }
    }

    fn strike(kind: &str, point: &str) {
        let signal = |signal| {
            let _ = kill_process(getpid(), signal);
        };
        match kind.split_once(':').unwrap_or((kind, "")) {
            ("sigterm", _) => signal(Signal::TERM),
            ("sigint", _) => signal(Signal::INT),
            ("child", _) => TAKES_CHILD.store(true, Ordering::SeqCst),
            ("run", line) => run(line, point),
            _ => abort(),
        }
    }

    fn run(line: &str, point: &str) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).env("POINT", point).env_remove(FAULT).env_remove(TRACE);
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    fn numbered(name: &str) -> String {
        let program =
            env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let place = format!("{}:{name}", program.unwrap_or_default());
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(place.clone()).or_default();
        *count = match TRACES.as_deref() {
            Some(file) => noted(file, &place) + 1,
            None => *count + 1,
        };
        let point = format!("{place}#{count}");
        if let Some(file) = TRACES.as_deref() {
            note(file, &point);
        }
        point
    }

    fn noted(file: &str, place: &str) -> usize {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().filter(|line| line.rsplit_once('#').is_some_and(|(noted, _)| noted == place)).count()
    }

    fn note(file: &str, point: &str) {
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(file) {
            let _ = file.write_all(format!("{point}\n").as_bytes());
        }
    }
}
