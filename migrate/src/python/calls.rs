//! What a script asks of the database. Its `commit` and `rollback` act on a savepoint, so that
//! they mean to the script what they always mean, and nothing to the transaction around it.

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::Value as Cell;
use rusqlite::{Batch, Connection, Error, ErrorCode, Rows, Statement};
use serde_json::{Value, json};

use common::report::Problem;

use super::Sent;
use super::values::{from_json, to_json};
use crate::guard::{Guard, SAVEPOINT};
use crate::tokens::statements;

/// Rows that go to the script in one line.
const CHUNK: usize = 200;

pub(super) struct Calls<'a> {
    db: &'a Connection,
    guard: &'a Guard,
    sent: Vec<Sent>,
}

/// Why a statement was not done, in the words of Python's sqlite3.
struct Refusal {
    kind: &'static str,
    text: String,
    code: Option<i32>,
}

enum Control {
    Nothing,
    Commit,
    Rollback,
}

impl<'a> Calls<'a> {
    pub(super) fn begin(db: &'a Connection, guard: &'a Guard) -> Result<Self, Problem> {
        let calls = Self { db, guard, sent: Vec::new() };
        calls.own("SAVEPOINT").map_err(broken)?;
        Ok(calls)
    }

    pub(super) fn end(self) -> Result<Vec<Sent>, Problem> {
        self.own("RELEASE").map_err(broken)?;
        Ok(self.sent)
    }

    fn own(&self, word: &str) -> Result<(), Error> {
        self.guard.aside(|| self.db.execute_batch(&format!("{word} {SAVEPOINT}")))
    }

    /// Does what `message` asks and gives the answer to `reply`, rows first.
    pub(super) fn answer(
        &mut self,
        message: &Value,
        mut reply: impl FnMut(&Value) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let sql = message["sql"].as_str().unwrap_or_default();
        let done = match message["op"].as_str().unwrap_or_default() {
            "commit" => self.commit().map_err(Refusal::from),
            "rollback" => self.roll_back().map_err(Refusal::from),
            "total" => Ok(json!({"total": self.db.total_changes()})),
            "script" => self.script(sql),
            "many" => self.many(sql, message["sets"].as_array().map_or(&[][..], Vec::as_slice)),
            _ => self.execute(sql, &message["parameters"], &mut reply)?,
        };
        reply(&done.unwrap_or_else(
            |refusal| json!({"error": refusal.text, "kind": refusal.kind, "code": refusal.code}),
        ))
    }

    fn commit(&self) -> Result<Value, Error> {
        self.own("RELEASE")?;
        self.own("SAVEPOINT").map(|()| json!({}))
    }

    fn roll_back(&self) -> Result<Value, Error> {
        self.own("ROLLBACK TO").map(|()| json!({}))
    }

    fn control(&self, sql: &str) -> Option<Result<Value, Error>> {
        match control(sql)? {
            Control::Nothing => Some(Ok(json!({"changes": -1}))),
            Control::Commit => Some(self.commit()),
            Control::Rollback => Some(self.roll_back()),
        }
    }

    /// The outer result is about the pipe, the inner one about the statement.
    fn execute(
        &mut self,
        sql: &str,
        parameters: &Value,
        reply: &mut impl FnMut(&Value) -> Result<(), Problem>,
    ) -> Result<Result<Value, Refusal>, Problem> {
        if statements(sql).len() > 1 {
            return Ok(Err(Refusal::misuse("You can only execute one statement at a time.")));
        }
        if let Some(controlled) = self.control(sql) {
            return Ok(controlled.map_err(Refusal::from));
        }
        let before = self.db.total_changes();
        let (columns, reads) = match self.stream(sql, parameters, reply)? {
            Ok(told) => told,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let rows = self.db.total_changes() - before;
        self.sent.push(Sent { sql: sql.to_owned(), rows });
        let changes = if reads { json!(-1) } else { json!(self.db.changes().min(rows)) };
        Ok(Ok(json!({"columns": columns, "changes": changes, "last": self.db.last_insert_rowid()})))
    }

    /// Runs one statement and gives its rows to `reply`; tells its columns and whether it only reads.
    fn stream(
        &self,
        sql: &str,
        parameters: &Value,
        reply: &mut impl FnMut(&Value) -> Result<(), Problem>,
    ) -> Result<Result<(Vec<String>, bool), Refusal>, Problem> {
        let prepare = || {
            let mut statement = self.db.prepare(sql)?;
            bind(&mut statement, parameters)?;
            Ok(statement)
        };
        let mut statement: Statement<'_> = match prepare() {
            Ok(statement) => statement,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let reads = statement.readonly();
        let mut rows = statement.raw_query();
        let mut chunk = Vec::new();
        loop {
            match next_row(&mut rows, columns.len()) {
                Ok(Some(row)) => chunk.push(row),
                Ok(None) => break,
                Err(error) => return Ok(Err(error.into())),
            }
            if chunk.len() == CHUNK {
                reply(&json!({"rows": std::mem::take(&mut chunk)}))?;
            }
        }
        reply(&json!({"rows": chunk}))?;
        Ok(Ok((columns, reads)))
    }

    fn many(&mut self, sql: &str, sets: &[Value]) -> Result<Value, Refusal> {
        let before = self.db.total_changes();
        let mut statement = self.db.prepare(sql)?;
        for set in sets {
            bind(&mut statement, set)?;
            statement.raw_execute()?;
        }
        let changed = self.db.total_changes() - before;
        self.sent.push(Sent { sql: sql.to_owned(), rows: changed });
        Ok(json!({"changes": changed}))
    }

    fn script(&mut self, sql: &str) -> Result<Value, Refusal> {
        self.commit()?;
        let texts: Vec<String> = statements(sql)
            .iter()
            .map(|statement| statement.iter().map(|token| token.text).collect::<Vec<_>>().join(" "))
            .collect();
        // Control words are taken out of the script; SQLite cuts all the rest.
        if texts.iter().any(|text| control(text).is_some()) {
            for text in &texts {
                match self.control(text) {
                    Some(controlled) => drop(controlled?),
                    None => self.batch(text)?,
                }
            }
        } else {
            self.batch(sql)?;
        }
        Ok(json!({}))
    }

    fn batch(&mut self, sql: &str) -> Result<(), Refusal> {
        let mut batch = Batch::new(self.db, sql);
        loop {
            let before = self.db.total_changes();
            let Some(mut statement) = batch.next()? else { return Ok(()) };
            let text = statement.expanded_sql().unwrap_or_default();
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            self.sent.push(Sent { sql: text, rows: self.db.total_changes() - before });
        }
    }
}

fn next_row(rows: &mut Rows<'_>, columns: usize) -> Result<Option<Value>, Error> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let cells = (0..columns).map(|at| row.get_ref(at).map(to_json));
    cells.collect::<Result<Vec<_>, _>>().map(|cells| Some(Value::Array(cells)))
}

fn control(sql: &str) -> Option<Control> {
    let all = statements(sql);
    let statement = all.first().filter(|_| all.len() == 1)?;
    let first = statement.first()?;
    if first.is("BEGIN") {
        return Some(Control::Nothing);
    }
    if first.is("COMMIT") || first.is("END") {
        return Some(Control::Commit);
    }
    (first.is("ROLLBACK") && !statement.iter().any(|token| token.is("TO"))).then_some(Control::Rollback)
}

fn bind(statement: &mut Statement<'_>, parameters: &Value) -> Result<(), Refusal> {
    let wanted = statement.parameter_count();
    let cell = |value: &Value| {
        from_json(value).ok_or_else(|| Refusal::misuse("a parameter has a type that SQLite does not know"))
    };
    if let Value::Object(named) = parameters {
        for at in 1..=wanted {
            let name = statement.parameter_name(at).unwrap_or_default().to_owned();
            let value = named.get(name.trim_start_matches([':', '@', '$'])).ok_or_else(|| {
                Refusal::misuse(&format!("You did not supply a value for binding parameter {name}."))
            })?;
            statement.raw_bind_parameter(at, cell(value)?)?;
        }
        return Ok(());
    }
    let given = parameters.as_array().map_or(&[][..], Vec::as_slice);
    if given.len() != wanted {
        return Err(Refusal::misuse(&format!(
            "Incorrect number of bindings supplied. The current statement uses {wanted}, and there are {} supplied.",
            given.len()
        )));
    }
    for (at, value) in given.iter().enumerate() {
        let cell: Cell = cell(value)?;
        statement.raw_bind_parameter(at + 1, cell)?;
    }
    Ok(())
}

impl Refusal {
    fn misuse(text: &str) -> Self {
        Self { kind: "ProgrammingError", text: text.to_owned(), code: None }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => "IntegrityError",
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "DatabaseError",
            Some(ErrorCode::ApiMisuse | ErrorCode::ParameterOutOfRange) => "ProgrammingError",
            _ => "OperationalError",
        };
        let code = error.sqlite_error().map(|error| error.extended_code);
        Self { kind, text: crate::statements::message(&error), code }
    }
}

fn broken(error: Error) -> Problem {
    Problem::new("migration-failed", "the database cannot go on with a migration in Python")
        .detail(error.to_string())
}
