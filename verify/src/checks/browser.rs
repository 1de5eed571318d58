//! The tables `[browser]` and `[regressions]`: which pages a browser opens, how it looks at them,
//! and which changes since the release before are meant.

use std::time::Duration;

use common::config::Span;
use common::report::Problem;
use toml::Spanned;
use toml::de::DeValue;

use super::entry::Texts;
use super::load::table;
use super::source::Source;

pub(super) const BROWSER: [&str; 10] =
    ["pages", "console", "settle", "width", "height", "required", "session", "visual", "ignore", "writes"];
pub(super) const REGRESSIONS: [&str; 1] = ["allow"];
/// Beyond this no screen is, and a picture of it would fill memory.
const LONGEST_SIDE: u32 = 8192;

/// What a browser is to look at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Browser {
    /// Paths with their queries.
    pub(crate) pages: Vec<String>,
    /// Whether what a page writes to the console as an error counts.
    pub(crate) console: bool,
    /// How long a loaded page is still watched.
    pub(crate) settle: Duration,
    /// Of the window, in CSS pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Without a browser the release is unverified.
    pub(crate) required: bool,
    /// The session whose cookies the pages get.
    pub(crate) session: Option<String>,
    /// Share of differing pixels, in percent, from which on a page has changed.
    pub(crate) visual: Option<f64>,
    /// Texts of messages and addresses that do not count.
    pub(crate) ignore: Vec<String>,
    /// Whether scripts may send what may write.
    pub(crate) writes: bool,
}

impl Default for Browser {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            console: true,
            settle: Duration::from_millis(50),
            width: 1280,
            height: 800,
            required: false,
            session: None,
            visual: None,
            ignore: Vec::new(),
            writes: false,
        }
    }
}

pub(super) fn read_browser(source: &Source<'_>, value: Spanned<DeValue<'_>>) -> Result<Browser, Problem> {
    let whole = value.span();
    let mut browser = Browser::default();
    for (key, value) in table(source, value)? {
        let span = value.span();
        match key.get_ref().as_ref() {
            "pages" => browser.pages = source.read::<Texts>(value)?.0,
            "console" => {
                browser.console = match source.read::<String>(value)?.as_str() {
                    "error" => true,
                    "off" => false,
                    other => {
                        return Err(source.wrong(&span, &format!("'{other}' is not \"error\" or \"off\"")));
                    }
                };
            }
            "settle" => browser.settle = source.read::<Span>(value)?.0,
            "width" => browser.width = source.read(value)?,
            "height" => browser.height = source.read(value)?,
            "required" => browser.required = source.read(value)?,
            "session" => browser.session = Some(source.read(value)?),
            "visual" => browser.visual = Some(percentage(source, value)?),
            "ignore" => browser.ignore = texts(source, value)?,
            "writes" => browser.writes = source.read(value)?,
            unknown => return Err(source.unknown_key(&key.span(), unknown, &BROWSER)),
        }
    }
    match fault(&browser) {
        Some(what) => Err(source.wrong(&whole, &what)),
        None => Ok(browser),
    }
}

/// The texts of `[regressions] allow`.
pub(super) fn read_regressions(
    source: &Source<'_>,
    value: Spanned<DeValue<'_>>,
) -> Result<Vec<String>, Problem> {
    let mut allow = Vec::new();
    for (key, value) in table(source, value)? {
        match key.get_ref().as_ref() {
            "allow" => allow = texts(source, value)?,
            unknown => return Err(source.unknown_key(&key.span(), unknown, &REGRESSIONS)),
        }
    }
    Ok(allow)
}

/// Texts that are looked for: an empty one would be found everywhere.
pub(super) fn texts(source: &Source<'_>, value: Spanned<DeValue<'_>>) -> Result<Vec<String>, Problem> {
    let span = value.span();
    let texts = source.read::<Texts>(value)?.0;
    if texts.iter().any(|text| text.trim().is_empty()) {
        return Err(source.wrong(&span, "an empty text would fit everything"));
    }
    Ok(texts)
}

fn percentage(source: &Source<'_>, value: Spanned<DeValue<'_>>) -> Result<f64, Problem> {
    let span = value.span();
    let text: String = source.read(value)?;
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number
        .filter(|number| (0.0..=100.0).contains(number))
        .ok_or_else(|| source.wrong(&span, &format!("'{text}' is not a percentage such as \"1%\"")))
}

fn fault(browser: &Browser) -> Option<String> {
    if browser.pages.is_empty() {
        return Some("[browser] needs its pages: pages = [\"/\"]".into());
    }
    if let Some(page) = browser.pages.iter().find(|page| !page.starts_with('/')) {
        return Some(format!("'{page}' is not a path: it must begin with '/'"));
    }
    let sides = [browser.width, browser.height];
    let side = sides.iter().find(|side| !(1..=LONGEST_SIDE).contains(*side))?;
    Some(format!("a window of {side} pixels: from 1 to {LONGEST_SIDE} will do"))
}
