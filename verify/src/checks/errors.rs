//! `[errors]`: which errors in the log of the instance are too many.

use common::report::Problem;
use toml::Spanned;
use toml::de::DeValue;

use super::browser::texts;
use super::load::table;
use super::source::Source;

const KEYS: [&str; 2] = ["new", "ignore"];

/// Errors that no other release has had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Errors {
    /// So many kinds of them may there be.
    pub(crate) new: usize,
    /// An error with one of these texts in it does not count.
    pub(crate) ignore: Vec<String>,
}

pub(super) fn read(source: &Source<'_>, value: Spanned<DeValue<'_>>) -> Result<Errors, Problem> {
    let mut errors = Errors::default();
    for (key, value) in table(source, value)? {
        match key.get_ref().as_ref() {
            "new" => errors.new = source.read(value)?,
            "ignore" => errors.ignore = texts(source, value)?,
            unknown => return Err(source.unknown_key(&key.span(), unknown, &KEYS)),
        }
    }
    Ok(errors)
}
