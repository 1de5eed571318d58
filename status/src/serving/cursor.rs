//! How far a stream of events has come, in one word that a client gives back: of each environment
//! the newest deployment that was told, how many of its steps, and the state in which it was left.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use common::ledger::{Deployment, Ledger};
use common::report::{Problem, Step};

/// More environments, or longer words, never came from here.
const LONGEST: usize = 4096;

/// Where a stream stands in one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Position {
    /// Of the row, in the order of the ledger.
    number: i64,
    steps: u32,
    mark: String,
}

/// Where it stands in all; written as `dev:12.5.running;prod:9.31.verified-ended`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cursor(BTreeMap<String, Position>);

/// What happened, and where the stream stands once it is told.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) cursor: Cursor,
    pub(crate) row: Deployment,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Began,
    /// With its number in the deployment, from 1.
    Step(u32, Step),
    /// It stands otherwise, or has ended.
    Turned,
}

impl Cursor {
    /// What has not happened yet: all that comes from now on.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(crate) fn now(ledger: Option<&Ledger>, names: &[String]) -> Result<Self, Problem> {
        let mut cursor = Self::default();
        cursor.take(ledger, names)?;
        Ok(cursor)
    }

    /// Goes on to what is known now, and gives what happened meanwhile, in order. In an environment
    /// that it does not know yet it begins with what is new from now on.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(crate) fn take(&mut self, ledger: Option<&Ledger>, names: &[String]) -> Result<Vec<News>, Problem> {
        let mut news = Vec::new();
        for name in names {
            match (ledger, self.0.get(name).cloned()) {
                (None, _) => drop(self.0.entry(name.clone()).or_default()),
                (Some(ledger), None) => {
                    let position = end(ledger, name)?;
                    self.0.insert(name.clone(), position);
                }
                (Some(ledger), Some(position)) => self.advance(ledger, name, &position, &mut news)?,
            }
        }
        Ok(news)
    }

    fn advance(
        &mut self,
        ledger: &Ledger,
        name: &str,
        from: &Position,
        news: &mut Vec<News>,
    ) -> Result<(), Problem> {
        let rows = ledger.rows_from(name, from.number.max(1))?;
        if rows.is_empty() && from.number > 0 {
            // The ledger was made again, and counts anew.
            self.0.insert(name.to_owned(), end(ledger, name)?);
        }
        for row in rows {
            let is_known = row.number == from.number;
            let mut position = if is_known { from.clone() } else { Position::begun(row.number) };
            let mut tell = |position: &Position, what: What| {
                self.0.insert(name.to_owned(), position.clone());
                news.push(News { cursor: self.clone(), row: row.clone(), what });
            };
            if !is_known {
                tell(&position, What::Began);
            }
            for step in ledger.steps_after(&row.id, position.steps)? {
                position.steps += 1;
                tell(&position, What::Step(position.steps, step));
            }
            if position.mark != mark(&row) {
                position.mark = mark(&row);
                tell(&position, What::Turned);
            }
        }
        Ok(())
    }
}

impl Position {
    fn begun(number: i64) -> Self {
        Self { number, steps: 0, mark: "running".to_owned() }
    }
}

/// All that has happened in an environment.
fn end(ledger: &Ledger, name: &str) -> Result<Position, Problem> {
    let newest = ledger.history(name, &common::ledger::Selection::newest(1))?.pop();
    let Some(row) = newest else { return Ok(Position::default()) };
    let steps = u32::try_from(ledger.steps_after(&row.id, 0)?.len()).unwrap_or(u32::MAX);
    Ok(Position { number: row.number, steps, mark: mark(&row) })
}

fn mark(row: &Deployment) -> String {
    format!("{}{}", row.state.word(), if row.ended_ms.is_some() { "-ended" } else { "" })
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, position)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ";" };
            write!(f, "{comma}{name}:{}.{}.{}", position.number, position.steps, position.mark)?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let (name, rest) = part.split_once(':')?;
            let mut words = rest.splitn(3, '.');
            let (number, steps) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let mark = words.next()?;
            let is_mark = mark.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte));
            (number >= 0 && is_mark)
                .then(|| (name.to_owned(), Position { number, steps, mark: mark.to_owned() }))
        };
        let parts = text.split(';').filter(|part| !part.is_empty()).map(part);
        let found: Option<BTreeMap<_, _>> =
            Some(text).filter(|text| text.len() <= LONGEST).and(parts.collect());
        found.map(Self).ok_or_else(|| "not the id of an event".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_nothing_else_is_one() {
        for text in ["", "dev:12.5.running", "dev:12.5.rolled_back-ended;prod:0.0."] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
        for bad in
            ["dev", "dev:1", "dev:x.0.running", "dev:-1.0.running", "dev:1.0.<b>", "dev:1.99999999999.x"]
        {
            bad.parse::<Cursor>().unwrap_err();
        }
    }
}
