//! Patterns of paths: `*` stands for any text, also for none. A pattern with a `?` or a `#` speaks of
//! the whole, one without of the path alone.

use serde::Deserialize;

/// One pattern, as written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Glob(String);

impl From<&str> for Glob {
    fn from(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }
}

impl Glob {
    /// Whether a path, with its query and position if it has them, is meant.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let more = ['?', '#'];
        let path = if self.0.contains(more) { path } else { path.split(more).next().unwrap_or(path) };
        let mut pieces = self.0.split('*');
        let Some(mut rest) = pieces.next().and_then(|first| path.strip_prefix(first)) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        for piece in pieces {
            match rest.find(piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// Whether one of the patterns means the path.
pub(crate) fn any_matches(globs: &[Glob], path: &str) -> bool {
    globs.iter().any(|glob| glob.matches(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let means = |glob: &str, path: &str| Glob(glob.into()).matches(path);
        assert!(means("/logout", "/logout") && means("/logout", "/logout?next=/"));
        assert!(!means("/logout", "/logout/") && !means("/logout", "/a/logout"));
        assert!(means("/admin/*", "/admin/") && means("/admin/*", "/admin/a/b?c"));
        assert!(!means("/admin/*", "/admin"));
        assert!(means("*.pdf", "/a/b.pdf") && !means("*.pdf", "/a/b.pdf/c"));
        assert!(means("/a/*/b/*", "/a/x/y/b/") && !means("/a/*/b/*", "/a/b/"));
        assert!(means("/list?page=*", "/list?page=7") && !means("/list?page=*", "/list"));
        assert!(means("/a#b", "/a#b") && !means("/a#b", "/a") && means("/a", "/a#b"));
        assert!(means("*", "/") && !means("/*x*x", "/x"));
    }
}
