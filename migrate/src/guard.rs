//! What SQLite itself is told to refuse while migrations run, and what it says they touch.
//!
//! The screen reads texts and gives remedies; this is the wall behind it. No text, and no script,
//! can end the transaction that has the records too.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// The savepoint that a script's commit and rollback act on.
pub(crate) const SAVEPOINT: &str = "migrate_script";

/// The wall around one connection.
pub(crate) struct Guard {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Whether statements are those of a migration, inside our transaction.
    raised: AtomicBool,
    tables: Mutex<BTreeSet<String>>,
}

impl Guard {
    /// Sets it up around `db`, not yet raised.
    pub(crate) fn around(db: &mut Connection) -> rusqlite::Result<Self> {
        let state = Arc::new(State::default());
        let seen = Arc::clone(&state);
        db.authorizer(Some(move |context: AuthContext<'_>| seen.judge(&context)))?;
        Ok(Self { state })
    }

    /// Runs `act` with the wall up.
    pub(crate) fn raised<T>(&self, act: impl FnOnce() -> T) -> T {
        self.set(true, act)
    }

    /// Runs `act`, which is ours, with the wall down.
    pub(crate) fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        self.set(false, act)
    }

    fn set<T>(&self, raised: bool, act: impl FnOnce() -> T) -> T {
        let before = self.state.raised.swap(raised, Ordering::Relaxed);
        let result = act();
        self.state.raised.store(before, Ordering::Relaxed);
        result
    }

    /// The tables that statements named since the last time it was asked.
    pub(crate) fn take_tables(&self) -> Vec<String> {
        let mut tables = self.state.tables.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *tables).into_iter().collect()
    }
}

impl State {
    fn judge(&self, context: &AuthContext<'_>) -> Authorization {
        if !self.raised.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        match context.action {
            AuthAction::Transaction { .. } | AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
                return Authorization::Deny;
            }
            AuthAction::Savepoint { savepoint_name, .. }
                if savepoint_name.eq_ignore_ascii_case(SAVEPOINT) =>
            {
                return Authorization::Deny;
            }
            _ => {}
        }
        if let Some(table) = written(&context.action) {
            let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            if !tables.contains(table) {
                tables.insert(table.to_owned());
            }
        }
        Authorization::Allow
    }
}

/// The app's table that an action changes.
fn written<'a>(action: &AuthAction<'a>) -> Option<&'a str> {
    let table = match action {
        AuthAction::CreateTable { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::DropIndex { table_name, .. }
        | AuthAction::CreateTrigger { table_name, .. }
        | AuthAction::DropTrigger { table_name, .. }
        | AuthAction::CreateVtable { table_name, .. }
        | AuthAction::DropVtable { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => *table_name,
        _ => return None,
    };
    (!table.starts_with("sqlite_")).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_statement_ends_the_transaction_and_written_tables_are_known() {
        let mut db = Connection::open_in_memory().unwrap();
        let guard = Guard::around(&mut db).unwrap();
        db.execute_batch(&format!("CREATE TABLE t(a); BEGIN; SAVEPOINT {SAVEPOINT}")).unwrap();
        guard.raised(|| {
            for refused in
                ["COMMIT", "ROLLBACK", "BEGIN", "END", "ATTACH ':memory:' AS x", "RELEASE Migrate_Script"]
            {
                assert!(db.execute_batch(refused).is_err(), "{refused}");
                assert!(!db.is_autocommit());
            }
            db.execute_batch(
                "SAVEPOINT a; INSERT INTO t VALUES (1); ROLLBACK TO a; CREATE TABLE u(b); SELECT * FROM t",
            )
            .unwrap();
        });
        assert_eq!(guard.take_tables(), ["t", "u"]);
        guard.aside(|| db.execute_batch("COMMIT")).unwrap();
    }
}
