//! One line of a log, made fit to be shown and compared: without what a terminal would obey, not too
//! wide, and without the frame that Python draws around a group of exceptions.

/// Of one line, in characters.
pub(super) const WIDEST: usize = 500;

/// One line without what a terminal would obey, and not too wide.
pub(super) fn plain(raw: &[u8]) -> String {
    // Four bytes make a character at most.
    let (head, is_cut) = raw.split_at_checked(4 * WIDEST).map_or((raw, false), |(head, _)| (head, true));
    let text = String::from_utf8_lossy(head);
    let mut chars = text.trim_end_matches(['\n', '\r']).chars();
    let kept = chars.by_ref().take(WIDEST);
    let kept: String = kept.map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
    if is_cut || chars.next().is_some() { format!("{kept}…") } else { kept }
}

/// A line of a group of exceptions without `  | ` or `  + `.
pub(super) fn unframed(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(' ')?.trim_start();
    let inside = rest.strip_prefix("| ").or_else(|| rest.strip_prefix("+ "));
    inside.or_else(|| (rest == "|").then_some(""))
}
