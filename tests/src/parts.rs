//! What tests need and no Debian package brings: `scripts/setup` puts it below `target/test-parts`.

use std::path::{Path, PathBuf};

use crate::skipped;

/// A file there; nothing, and said so, when it is missing.
///
/// # Panics
/// When `CI` is set and it is missing.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-parts").join(name);
    if path.exists() {
        return Some(path);
    }
    skipped(&format!("{name} is missing: scripts/setup"));
    None
}
