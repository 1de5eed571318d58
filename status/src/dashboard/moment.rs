//! Moments and lengths of time as people read them; a page carries the exact moment beside the words.

use common::report::now;
use jiff::Timestamp;

use crate::words::span;

/// A moment of the past.
pub(super) struct Moment {
    /// RFC 3339, UTC, in whole seconds.
    pub(super) exact: String,
    /// `3 h ago`.
    pub(super) words: String,
}

impl Moment {
    pub(super) fn at(at: Timestamp) -> Self {
        let seconds = now().as_second() - at.as_second();
        let words = if seconds < 0 { "in the future".to_owned() } else { format!("{} ago", span(seconds)) };
        Self { exact: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), words }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Self::at)
    }

    pub(super) fn of_ms(milliseconds: i64) -> Option<Self> {
        Timestamp::from_millisecond(milliseconds).ok().map(Self::at)
    }
}

/// `840 ms`, `12.4 s`, `3 min`.
pub(super) fn length(milliseconds: u64) -> String {
    match milliseconds {
        ..1_000 => format!("{milliseconds} ms"),
        1_000..120_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => span(i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX)),
    }
}

/// `1.4 MB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_sizes_have_the_unit_that_people_would_take() {
        assert_eq!(
            ["840 ms", "12.4 s", "3 min"],
            [840, 12_400, 190_000].map(length).each_ref().map(String::as_str)
        );
        let sizes = [999, 1_400_000, 999_999, 12_000_000_000].map(size);
        assert_eq!(["999 B", "1.4 MB", "999.9 kB", "12.0 GB"], sizes.each_ref().map(String::as_str));
    }
}
