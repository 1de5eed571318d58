//! Which core a thread runs on, where it matters that two run at once.

use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Leaves this core to the thread that was just begun, and goes on on another.
///
/// Linux starts a thread beside its creator, where it waits for it, when no other core seems to be
/// free; and on many virtual machines a core that rests looks like one that the host has taken
/// away. Nothing happens where there is one core only. A core that comes to the machine later is not
/// used by this process, which is a short one.
pub(crate) fn step_aside() {
    let Ok(all) = sched_getaffinity(None) else { return };
    let mut others = all;
    others.unset(sched_getcpu());
    if others.count() > 0 && sched_setaffinity(None, &others).is_ok() {
        let _ = sched_setaffinity(None, &all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_stays_allowed() {
        let before = sched_getaffinity(None).unwrap();
        let begun = sched_getcpu();
        step_aside();
        assert_eq!(sched_getaffinity(None).unwrap(), before);
        assert!(before.count() == 1 || before.is_set(begun));
    }
}
