//! Whatever is done to files and database, the same traces mean the same content.

use std::collections::BTreeMap;
use std::fs::FileTimes;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use common::durable;
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;

#[derive(Debug, Clone)]
enum Edit {
    Write(usize, u8),
    /// With the time of before.
    Forge(usize, u8),
    Rename(usize, usize),
    Remove(usize),
    Insert,
    Delete,
    Restore,
    Nothing,
}

const NAMES: [&str; 4] = ["1.sql", "2.sql", "sub/up.sql", "sub/down.sql"];

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let (name, byte) = (0..NAMES.len(), b'a'..b'c');
    let edit = prop_oneof![
        (name.clone(), byte.clone()).prop_map(|(name, byte)| Edit::Write(name, byte)),
        (name.clone(), byte).prop_map(|(name, byte)| Edit::Forge(name, byte)),
        (name.clone(), name.clone()).prop_map(|(from, to)| Edit::Rename(from, to)),
        name.prop_map(Edit::Remove),
        Just(Edit::Insert),
        Just(Edit::Delete),
        Just(Edit::Restore),
        Just(Edit::Nothing),
    ];
    prop::collection::vec(edit, 1..8)
}

fn change(dir: &Path, edit: &Edit) {
    let path = |name: usize| dir.join("migrations").join(NAMES[name]);
    let sql = |text: &str| Connection::open(dir.join("app.db")).unwrap().execute_batch(text).unwrap();
    match edit {
        Edit::Write(name, byte) => fs::write(path(*name), [*byte]).unwrap(),
        Edit::Forge(name, byte) => {
            let before = fs::metadata(path(*name)).and_then(|meta| meta.modified());
            fs::write(path(*name), [*byte]).unwrap();
            let file = File::options().write(true).open(path(*name)).unwrap();
            let set = before.map(|time| file.set_times(FileTimes::new().set_modified(time)));
            drop(set);
        }
        Edit::Rename(from, to) => drop(durable::rename_for_now(&path(*from), &path(*to))),
        Edit::Remove(name) => drop(fs::remove_file(path(*name))),
        Edit::Insert => sql("INSERT INTO t VALUES (1)"),
        Edit::Delete => sql("DELETE FROM t"),
        Edit::Restore => drop(fs::copy(dir.join("empty.db"), dir.join("app.db")).unwrap()),
        Edit::Nothing => {}
    }
}

/// Waits until the clock of the file system has gone on.
fn tick(dir: &Path) {
    let time = || {
        fs::write(dir.join("probe"), "").unwrap();
        let meta = fs::metadata(dir.join("probe")).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let begun = time();
    while time() == begun {}
}

fn traces(dir: &Path) -> String {
    let mut traces = Walk::begin(Traces::at(i128::MAX, &[]), dir.join("migrations")).end();
    traces.database(&dir.join("app.db"));
    traces.end().unwrap()
}

/// All that is read from there.
fn content(dir: &Path) -> (BTreeMap<PathBuf, Vec<u8>>, i64) {
    let files = NAMES.iter().map(|name| dir.join("migrations").join(name));
    let files = files.filter_map(|file| Some((file.clone(), fs::read(file).ok()?))).collect();
    let db = Connection::open(dir.join("app.db")).unwrap();
    (files, db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is done to files and database, and however much of it is undone.
    #[test]
    fn the_same_traces_mean_the_same_content(edits in edits()) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("migrations/sub")).unwrap();
        for database in ["app.db", "empty.db"] {
            Connection::open(dir.path().join(database)).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
        }
        let mut seen = vec![(traces(dir.path()), content(dir.path()))];
        for edit in &edits {
            tick(dir.path());
            change(dir.path(), edit);
            let now = (traces(dir.path()), content(dir.path()));
            if matches!(edit, Edit::Nothing) {
                prop_assert_eq!(&seen.last().unwrap().0, &now.0);
            }
            for (traces, content) in &seen {
                prop_assert!(*traces != now.0 || *content == now.1, "{:?}", edits);
            }
            seen.push(now);
        }
    }
}

#[test]
fn what_could_change_again_unseen_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("1.sql"), dir.path().join("2.sql"));
    let of = |at: i128| Walk::begin(Traces::at(at, &["dev"]), dir.path().into()).end().end();
    fs::write(&file, "SELECT 1").unwrap();
    let meta = fs::metadata(dir.path()).unwrap();
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    assert_eq!(of(changed), None);
    assert_eq!(of(changed + TICK_NS - 1), None);
    let later = of(changed + 2 * TICK_NS);
    assert!(later.is_some());
    assert_eq!(of(i128::MAX), later);
    symlink(&file, link).unwrap();
    assert_eq!(of(i128::MAX), None, "nobody watches where it leads");
    let mut traces = Traces::at(i128::MAX, &[]);
    traces.database(&dir.path().join("none.db"));
    assert_eq!(traces.end(), None);
    let mut traces = Traces::at(i128::MAX, &[]);
    traces.file(Path::new("/proc/version"));
    assert_eq!(traces.end(), None, "not a file system that keeps times");
}

#[test]
fn none_of_many_files_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = |number: usize| dir.path().join(format!("{number}.sql"));
    (0..300).for_each(|number| fs::write(path(number), "a").unwrap());
    let of = || Walk::begin(Traces::at(i128::MAX, &[]), dir.path().into()).end().end().unwrap();
    let mut seen = vec![of()];
    assert_eq!(of(), seen[0], "whoever of the two looks at which of them");
    for number in 0..300 {
        fs::write(path(number), "ab").unwrap();
        assert!(!seen.contains(&of()), "{number}");
        seen.push(of());
    }
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(!seen.contains(&of()), "nothing is there any more");
}
