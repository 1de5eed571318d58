//! Work on the parts of a stream on several cores at once, in order.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

/// Lanes on a large machine: more would wait for the disk.
const LANES: usize = 4;
/// Parts that a lane has at a time; more would take memory.
const AHEAD: usize = 1;

/// What a lane does with each part.
pub(super) trait Work {
    type Made: Send;

    fn make(&mut self, part: Vec<u8>) -> io::Result<Self::Made>;
}

/// One thread that works on what it is given, in order.
struct Lane<T> {
    part: SyncSender<Vec<u8>>,
    made: Receiver<io::Result<T>>,
}

impl<T: Send> Lane<T> {
    fn begin<'scope, W: Work<Made = T>>(
        scope: &'scope Scope<'scope, '_>,
        begin: &'scope (dyn Fn() -> io::Result<W> + Sync),
    ) -> Self
    where
        T: 'scope,
    {
        let (part, due) = sync_channel::<Vec<u8>>(AHEAD);
        let (done, made) = sync_channel(AHEAD);
        scope.spawn(move || {
            let mut work = begin();
            while let Ok(part) = due.recv() {
                let made = match &mut work {
                    Ok(work) => work.make(part),
                    Err(error) => Err(io::Error::other(error.to_string())),
                };
                if done.send(made).is_err() {
                    return;
                }
            }
        });
        Self { part, made }
    }

    fn give(&self, part: Vec<u8>) -> io::Result<()> {
        self.part.send(part).map_err(|_| ended())
    }

    fn take(&self) -> io::Result<T> {
        self.made.recv().map_err(|_| ended())?
    }
}

fn ended() -> io::Error {
    io::Error::other("a thread of the compression has ended")
}

/// Works on all parts that `next` gives, on a lane for each core; `act` gets the results in order.
pub(super) fn each<W: Work>(
    next: &mut dyn FnMut() -> io::Result<Option<Vec<u8>>>,
    begin: &(dyn Fn() -> io::Result<W> + Sync),
    act: &mut dyn FnMut(W::Made) -> io::Result<()>,
) -> io::Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let lanes: Vec<Lane<W::Made>> = (0..cores.min(LANES)).map(|_| Lane::begin(scope, begin)).collect();
        let mut hand_on = |number: usize| act(lanes[number % lanes.len()].take()?);
        let ahead = lanes.len() * AHEAD;
        let mut given = 0;
        while let Some(part) = next()? {
            if given >= ahead {
                hand_on(given - ahead)?;
            }
            lanes[given % lanes.len()].give(part)?;
            given += 1;
        }
        (given.saturating_sub(ahead)..given).try_for_each(hand_on)
    })
}
