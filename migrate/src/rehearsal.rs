//! One rehearsal: up, checks, down, compare, up again, on a private copy of the database. Owns the
//! order of these; what is made of the findings is `verdict`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::database::{check, snapshot};
use common::migrations::{Migration, read_applied};
use common::report::{Problem, quoted};
use common::scratch::Scratch;

use crate::birth::Birth;
use crate::content::{Content, compare_rows, compare_shapes, contents};
use crate::engine::{Done, Failure, Room, Seen, Terms};
use crate::job::Job;
use crate::loss;
use crate::pass::see;
use crate::python::Python;
use crate::recorded::undoing;
use crate::verdict::Verdict;

/// What is rehearsed, and where.
pub(crate) struct Subject<'a> {
    pub(crate) chosen: &'a [Migration],
    /// Versions whose phase has come: the release that serves can live with them.
    pub(crate) due: &'a [i64],
    pub(crate) environment: &'a str,
    /// A migration without a way back must say why.
    pub(crate) guarded: bool,
    /// The database, and a private directory's parent.
    pub(crate) database: &'a Path,
    pub(crate) root: &'a Path,
}

/// A part of the rehearsal and how long it took.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) problem: Option<Problem>,
}

/// A rehearsal under way, or over.
pub(crate) struct Rehearsal<'a> {
    subject: Subject<'a>,
    pub(crate) verdict: Verdict,
    pub(crate) done: Option<Done>,
    pub(crate) initial: Option<Seen>,
    pub(crate) parts: Vec<Part>,
}

/// How far the way back went.
#[derive(Default)]
struct WayBack {
    /// Why it cannot be trusted.
    problem: Option<String>,
    /// A file says so itself.
    explained: bool,
    /// How many migrations were undone.
    undone: usize,
}

impl<'a> Rehearsal<'a> {
    pub(crate) fn new(subject: Subject<'a>) -> Self {
        Self { subject, verdict: Verdict::default(), done: None, initial: None, parts: Vec::new() }
    }

    /// Rehearses on a copy of the database (an empty one when there is no file), and keeps the
    /// migrated copy at `keep`.
    ///
    /// # Errors
    /// `migration-failed`, `foreign-keys-broken`, `database-damaged`, `rows-lost`,
    /// `migration-irreversible`, `rehearsal-differs`, `snapshot-failed`.
    pub(crate) fn perform(&mut self, python: Python, keep: Option<&Path>) -> Result<(), Problem> {
        let scratch = Scratch::make(self.subject.root)?;
        let database = self.subject.database;
        let copy = self.part("rehearse.copy", |_| copy_database(database, scratch.file("copy.db")))?;
        let room = Room::open(&copy, python)?;
        let initial = see(&room.db)?;
        let before = read_contents(&room)?;
        self.initial = Some(initial.clone());
        let done = self.part("rehearse.up", |it| it.apply(&room, it.subject.chosen))?;
        let after = read_contents(&room)?;
        self.verdict.judge(done.as_ref(), &initial, self.subject.due);
        self.verdict.tell_contents(&before, &after);
        self.done = done;
        self.part("rehearse.check", |it| it.check_result(&room, &initial))?;
        if let Some(keep) = keep {
            self.part("rehearse.keep", |_| snapshot(&copy, keep, &mut |_, _| {}))?;
        }
        let back = self.part("rehearse.down", |it| it.reverse(&room, &scratch, &before))?;
        self.verdict.reversible = back.problem.is_none();
        self.verdict.reversal_problem.clone_from(&back.problem);
        if back.undone > 0 && (back.problem.is_none() || back.explained) {
            let undone = &self.subject.chosen[self.subject.chosen.len() - back.undone..];
            self.part("rehearse.again", |it| it.repeat(&room, undone))?;
        }
        match back.problem {
            Some(why) if self.subject.guarded && !back.explained => Err(self.unexplained(&why)),
            _ => Ok(()),
        }
    }

    fn part<T>(
        &mut self,
        name: &'static str,
        act: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        common::interrupt::check()?;
        let begun = Instant::now();
        let result = act(self);
        self.parts.push(Part { name, took: begun.elapsed(), problem: result.as_ref().err().cloned() });
        result
    }

    fn terms(&self, watched: bool) -> Terms<'a> {
        Terms { watched, environment: self.subject.environment, ..Terms::default() }
    }

    fn apply(&self, room: &Room, migrations: &[Migration]) -> Result<Option<Done>, Problem> {
        let jobs = migrations.iter().map(|migration| Job::apply(migration, None)).collect();
        room.run(self.terms(true), |_| Ok(jobs)).map_err(|failure| self.with_hint(*failure.problem))
    }

    fn check_result(&self, room: &Room, initial: &Seen) -> Result<(), Problem> {
        match check(&room.db) {
            // New ones were refused before the commit; old ones are not this migration's doing.
            Err(problem) if problem.kind == "foreign-keys-broken" => {}
            other => other?,
        }
        match &self.done {
            Some(done) => loss::refuse_unapproved(initial, &done.finished),
            None => Ok(()),
        }
    }

    /// Undoes what was applied, one by one, each compared with what was there before it.
    fn reverse(
        &mut self,
        room: &Room,
        scratch: &Scratch,
        before: &BTreeMap<String, Content>,
    ) -> Result<WayBack, Problem> {
        let mut back = WayBack::default();
        let count = self.subject.chosen.len();
        for at in (0..count).rev() {
            let migration = &self.subject.chosen[at];
            if let Some(reason) = &migration.directives.irreversible {
                back.problem = Some(format!("{} says that it is irreversible: {reason}", migration.file));
                back.explained = true;
                return Ok(back);
            }
            back.problem = self.undo(room, at)?;
            if back.problem.is_some() {
                return Ok(back);
            }
            back.undone += 1;
        }
        self.verdict.tell_way_back(before, &read_contents(room)?);
        let database = self.subject.database;
        if self.verdict.is_change() && database.exists() {
            let original = copy_database(database, scratch.file("original.db"))?;
            let missing = compare_rows(&room.db, &original).map_err(|error| unreadable(&error))?;
            back.problem =
                (!missing.is_empty()).then(|| format!("after the way back, {}", missing.join(", ")));
        }
        Ok(back)
    }

    /// Undoes one migration; the result is why its way back cannot be trusted.
    fn undo(&self, room: &Room, at: usize) -> Result<Option<String>, Problem> {
        let migration = &self.subject.chosen[at];
        if migration.is_repeatable() {
            return Ok(Some(format!("{} is repeatable and has no way back", migration.file)));
        }
        let applied = read_applied(&room.db)?;
        let Some(row) = applied.iter().find(|row| row.version == migration.version) else { return Ok(None) };
        let job = match undoing(row, std::slice::from_ref(migration), self.subject.environment) {
            Ok(job) => job,
            Err(problem) => return Ok(Some(problem.title)),
        };
        if let Err(failure) = room.run(self.terms(false), |_| Ok(vec![job])) {
            return Ok(Some(failure.problem.title));
        }
        let earlier = at.checked_sub(1).and_then(|at| self.done.as_ref()?.finished.get(at)?.seen.as_ref());
        let Some(expected) = earlier.or(self.initial.as_ref()) else { return Ok(None) };
        let differences = compare_shapes(&expected.shape, &see(&room.db)?.shape);
        let sentence = || format!("after {}, {}", migration.down_file, differences.join(", "));
        Ok((!differences.is_empty()).then(sentence))
    }

    fn repeat(&mut self, room: &Room, undone: &[Migration]) -> Result<(), Problem> {
        let expected = self.done.as_ref().and_then(|done| done.finished.last()?.seen.clone());
        let differences = match (self.apply(room, undone), expected) {
            (Ok(_), Some(expected)) => compare_shapes(&expected.shape, &see(&room.db)?.shape),
            (Ok(_), None) => Vec::new(),
            (Err(problem), _) => vec![problem.title],
        };
        if differences.is_empty() {
            return Ok(());
        }
        let problem = Problem::new("rehearsal-differs", "up works once, but not again after its way back");
        Err(self.with_hint(problem.detail(differences.join("\n"))))
    }

    fn unexplained(&self, why: &str) -> Problem {
        let file = self.subject.chosen.last().map_or("", |migration| migration.file.as_str());
        Problem::new("migration-irreversible", format!("there is no way back: {why}"))
            .detail("mend the down text, or say why there is none in the up file: -- irreversible: REASON")
            .hint(format!("cat {}", quoted(format!("migrations/{file}"))))
    }

    fn with_hint(&self, mut problem: Problem) -> Problem {
        problem.hint.get_or_insert_with(|| format!("migrate {} plan", self.subject.environment));
        problem
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        *failure.problem
    }
}

fn copy_database(database: &Path, copy: PathBuf) -> Result<PathBuf, Problem> {
    if database.exists() {
        snapshot(database, &copy, &mut |_, _| {})?;
    } else {
        Birth::ensure(&copy)?.keep();
    }
    Ok(copy)
}

fn read_contents(room: &Room) -> Result<BTreeMap<String, Content>, Problem> {
    contents(&room.db).map_err(|error| unreadable(&error))
}

fn unreadable(error: &rusqlite::Error) -> Problem {
    Problem::new("database-unreadable", "cannot read the rehearsed copy").detail(error.to_string())
}
