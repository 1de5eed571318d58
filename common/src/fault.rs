//! Fault points: places where a test may end this program as kill -9 would. Release builds have
//! none.
//!
//! `DEPLOY_FAULT=TOOL:POINT#N` ends the tool at the Nth time it passes the point;
//! `DEPLOY_FAULT_TRACE=FILE` notes every point that is passed, so that a test can try them all.

/// Passes a named point.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    armed::pass(name);
}

/// Passes a named point: nothing, in a release build.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}

#[cfg(debug_assertions)]
mod armed {
    use std::collections::HashMap;
    use std::env;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::sync::{LazyLock, Mutex, PoisonError};

    static PASSED: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);
    static FAULT: LazyLock<Option<String>> = LazyLock::new(|| env::var("DEPLOY_FAULT").ok());
    static TRACE: LazyLock<Option<String>> = LazyLock::new(|| env::var("DEPLOY_FAULT_TRACE").ok());

    pub(super) fn pass(name: &str) {
        if FAULT.is_none() && TRACE.is_none() {
            return;
        }
        let full = numbered(name);
        if let Some(file) = TRACE.as_deref()
            && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(file)
        {
            let _ = file.write_all(format!("{full}\n").as_bytes());
        }
        if FAULT.as_deref() == Some(&full) {
            std::process::abort();
        }
    }

    fn numbered(name: &str) -> String {
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(name.to_owned()).or_default();
        *count += 1;
        let program =
            env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        format!("{}:{name}#{count}", program.unwrap_or_default())
    }
}
