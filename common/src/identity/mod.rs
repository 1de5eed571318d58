//! Who really answers: from a listening address to the processes behind it, and from them to the
//! release they run. Read from `/proc` itself, never from the text of another program.
//!
//! `socket` knows the listening sockets, `descriptor` who holds what, `owner` what one process
//! says about itself, `verdict` what follows from it. Nothing here changes anything.

mod descriptor;
mod owner;
mod socket;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use owner::{Owner, Release};
pub use verdict::{Judgement, Verdict, judge};

use crate::address::Address;
use crate::report::{OrProblem, Problem};

/// The processes behind one listening address.
#[derive(Debug, Clone, Default)]
pub struct Owners {
    /// Every process that holds one of the sockets, by pid; pid 1 is left out, since it may hold a
    /// socket only to hand it over.
    pub visible: Vec<Owner>,
    /// Listening sockets that no process we may look at holds.
    pub hidden: usize,
    /// User of the first hidden socket, else of the first socket.
    pub uid: Option<u32>,
}

impl Owners {
    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.visible.is_empty() && self.hidden == 0
    }
}

/// All processes that would get a connection to `address`, wildcard listeners included.
///
/// # Errors
/// `unverified` when `/proc` cannot be read.
pub fn owners(address: &Address) -> Result<Owners, Problem> {
    owners_of_each(std::slice::from_ref(address)).map(|mut found| found.pop().unwrap_or_default())
}

/// As [`owners`], for several addresses with one look at all processes; in the same order.
///
/// # Errors
/// As [`owners`].
pub fn owners_of_each(addresses: &[Address]) -> Result<Vec<Owners>, Problem> {
    let sockets = socket::listening(addresses).or_problem("unverified", || "cannot read /proc/net".into())?;
    let wanted: BTreeSet<u64> = sockets.iter().flatten().map(|socket| socket.inode).collect();
    let mut holders: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    if !wanted.is_empty() {
        descriptor::visit(|descriptor| {
            if let Some(inode) = descriptor.socket_inode().filter(|inode| wanted.contains(inode)) {
                holders.entry(inode).or_default().insert(descriptor.pid);
            }
        })
        .or_problem("unverified", || "cannot read /proc".into())?;
    }
    Ok(sockets.iter().map(|sockets| owners_among(sockets, &holders)).collect())
}

fn owners_among(sockets: &[socket::Socket], holders: &BTreeMap<u64, BTreeSet<u32>>) -> Owners {
    let hidden: Vec<_> = sockets.iter().filter(|socket| !holders.contains_key(&socket.inode)).collect();
    let pids: BTreeSet<u32> =
        sockets.iter().filter_map(|socket| holders.get(&socket.inode)).flatten().copied().collect();
    Owners {
        visible: pids.into_iter().filter_map(Owner::read).collect(),
        hidden: hidden.len(),
        uid: hidden.first().copied().or(sockets.first()).map(|socket| socket.uid),
    }
}

/// How many connections to `address` are open, used or idle.
///
/// # Errors
/// `unverified` when `/proc` cannot be read.
pub fn connections(address: &Address) -> Result<usize, Problem> {
    socket::connections(address).or_problem("unverified", || "cannot read /proc/net".into())
}

/// Who listens on `address`, for the end of a sentence; `None` when nobody does.
pub fn stranger(address: &Address) -> Option<String> {
    let owners = owners(address).ok().filter(|owners| !owners.is_empty())?;
    let user = owners.uid.unwrap_or_default();
    Some(match owners.visible.first() {
        Some(owner) => {
            format!("pid {} ({}) of user {}", owner.pid, owner.command, owner.uid)
        }
        None => {
            format!("a process of user {user} that only user {user} or root can see")
        }
    })
}

/// The processes that have the file `path` open, by device and inode: a copy or a replaced file
/// of the same name does not count.
///
/// # Errors
/// `unverified` when the file or `/proc` cannot be read.
pub fn holders(path: &Path) -> Result<Vec<Owner>, Problem> {
    let file = file_at(path)?;
    let mut pids = BTreeSet::new();
    descriptor::visit(|descriptor| {
        if descriptor.is_file(file.dev(), file.ino()) {
            pids.insert(descriptor.pid);
        }
    })
    .or_problem("unverified", || "cannot read /proc".into())?;
    Ok(pids.into_iter().filter_map(Owner::read).collect())
}

/// Whether one process has the file `path` open; false also when it may not be looked at.
///
/// # Errors
/// `unverified` when the file cannot be read.
pub fn holds(pid: u32, path: &Path) -> Result<bool, Problem> {
    let file = file_at(path)?;
    let mut found = false;
    let _ = descriptor::visit_process(pid, &mut |descriptor| {
        found |= descriptor.is_file(file.dev(), file.ino());
    });
    Ok(found)
}

fn file_at(path: &Path) -> Result<fs::Metadata, Problem> {
    fs::metadata(path).or_problem("unverified", || format!("cannot read {}", path.display()))
}

/// The paths of the files that a process has open, as the kernel names them; empty when it is gone
/// or may not be looked at.
pub fn open_files(pid: u32) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let _ = descriptor::visit_process(pid, &mut |descriptor| files.extend(descriptor.path()));
    files
}

#[cfg(test)]
mod tests;
