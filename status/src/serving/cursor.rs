//! How far a stream of events has come, in one word that a client gives back: of each environment
//! the newest deployment that was told, how many of its steps, and the state in which it was left.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use common::ledger::{Deployment, Ledger};
use common::report::{Problem, Step};

/// More environments, or longer words, never came from here.
const LONGEST: usize = 4096;
/// So many rows of an environment are told at once.
const PORTION: u32 = 50;
/// Who is further behind goes on from now: nobody reads that much, and it would be told to everybody
/// who makes up an old id.
const MOST_BEHIND: u32 = 1000;
/// As in deploy.toml.
const LONGEST_NAME: usize = 64;

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

    /// Forgets all other environments.
    pub(crate) fn keep(&mut self, names: &[String]) {
        self.0.retain(|name, _| names.contains(name));
    }

    /// Goes on towards what is known now, and gives what happened meanwhile, in order: a portion of it,
    /// until there is nothing more. In an environment that it does not know yet, or in which it is far
    /// behind, it begins with what is new from now on. What becomes of a deployment after the next one
    /// of its environment has begun is not told.
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
        let rows = ledger.rows_from(name, from.number.max(1), PORTION)?;
        // One that was made again counts anew.
        let is_other = rows.is_empty() && from.number > 0;
        if is_other || ledger.has_more_than(MOST_BEHIND, name, from.number)? {
            self.0.insert(name.to_owned(), end(ledger, name)?);
            return Ok(());
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
            let is_name = (1..=LONGEST_NAME).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            let is_mark = mark.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte));
            (number >= 0 && is_name && is_mark)
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
    use common::ledger::{Beginning, Kind};

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
        for name in ["", "a\r", "a\nid", "a\0", "a b", "\u{e4}", &"x".repeat(65)] {
            format!("{name}:1.0.running").parse::<Cursor>().unwrap_err();
        }
        let mut cursor: Cursor = "dev:1.0.;prod:2.0.".parse().unwrap();
        cursor.keep(&["prod".to_owned()]);
        assert_eq!(cursor.to_string(), "prod:2.0.");
    }

    fn ledger(dir: &std::path::Path) -> Ledger {
        let text = "[app]\nname = 'x'\nrun = 'true'\n[environments.dev]\nbranches = ['dev']\nlisten = '127.0.0.1:8001'\n";
        std::fs::write(dir.join("deploy.toml"), text).unwrap();
        Ledger::open(&common::config::load(Some(&dir.join("deploy.toml"))).unwrap()).unwrap()
    }

    fn begin(ledger: &Ledger, id: &str) {
        let beginning = Beginning {
            id,
            environment: "dev",
            kind: Kind::Deploy,
            revision: "r",
            branch: None,
            tree: None,
            replaced: None,
            restores: None,
            log_file: None,
        };
        ledger.begin(&beginning).unwrap();
    }

    #[test]
    fn who_comes_back_gets_the_rest_in_portions_and_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, names) = (ledger(dir.path()), ["dev".to_owned()]);
        let ids: Vec<String> = (0..PORTION + 10).map(|number| format!("id{number:03}")).collect();
        for id in &ids {
            begin(&ledger, id);
        }
        let mut cursor: Cursor = "dev:0.0.".parse().unwrap();
        let mut told = Vec::new();
        for _ in 0..3 {
            let news = cursor.take(Some(&ledger), &names).unwrap();
            assert!(news.len() <= PORTION as usize);
            told.extend(news.into_iter().map(|news| news.row.id));
        }
        assert_eq!(told, ids);
        // What becomes of an older one is not told; the endpoint `deployments` has it.
        ledger.set_state(&ids[0], common::ledger::State::Superseded).unwrap();
        assert!(cursor.take(Some(&ledger), &names).unwrap().is_empty());
        ledger.set_state(ids.last().unwrap(), common::ledger::State::Failed).unwrap();
        assert_eq!(cursor.take(Some(&ledger), &names).unwrap().len(), 1);
    }
}
