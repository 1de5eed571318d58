//! The programs under test: found beside the test's own executable, and never stale ones.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const PROGRAMS: [&str; 8] =
    ["deploy", "deploy-gateway", "deploy-keeper", "verify", "status", "rollback", "migrate", "backup"];

/// The directory that cargo puts the programs into.
///
/// # Panics
/// When the test does not run from cargo's target directory.
pub fn dir() -> PathBuf {
    let test = std::env::current_exe().expect("the test's path");
    test.ancestors().nth(2).expect("target/PROFILE").to_owned()
}

/// One program.
pub fn path(program: &str) -> PathBuf {
    dir().join(program)
}

/// Another installation of the same programs, below `parent`.
///
/// # Panics
/// When they cannot be copied.
pub fn install_below(parent: &Path) -> PathBuf {
    let dir = parent.join("installed");
    std::fs::create_dir(&dir).expect("a directory for the programs");
    for program in PROGRAMS {
        std::fs::copy(path(program), dir.join(program)).expect("a copy of a program");
    }
    dir
}

/// A test that runs yesterday's programs proves nothing.
///
/// # Panics
/// When a program is missing or older than a source file it was built from.
pub fn check_fresh() {
    static CHECKED: OnceLock<()> = OnceLock::new();
    CHECKED.get_or_init(|| {
        for program in PROGRAMS {
            let built = path(program).metadata().and_then(|meta| meta.modified()).ok();
            let newest =
                sources(program).iter().filter_map(|file| file.metadata().ok()?.modified().ok()).max();
            let fresh = newest.is_some() && built >= newest;
            assert!(fresh, "{program} is missing or stale: run `cargo build --workspace`, or `make test`");
        }
    });
}

/// The files that cargo built a program from, as it noted them beside it.
fn sources(program: &str) -> Vec<PathBuf> {
    let noted = std::fs::read_to_string(path(program).with_extension("d")).unwrap_or_default();
    let files = noted.split_once(": ").map_or("", |(_, files)| files.trim_end());
    files
        .replace("\\ ", "\0")
        .split(' ')
        .filter(|file| !file.is_empty())
        .map(|file| file.replace('\0', " ").into())
        .collect()
}
