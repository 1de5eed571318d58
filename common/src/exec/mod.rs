//! Running programs: output to the run's log file, a time limit, and never a process left behind.
//!
//! Each program leads a process group of its own; the whole group ends with it. None inherits our
//! stdin or stdout. `recording` keeps the beginning of an output;
//! `sibling` runs the other tools of the product and speaks reports with them.

mod log;
mod program;
mod recording;
mod running;
mod sibling;

pub use log::{RunLog, tail, tail_of};
pub use program::Program;
pub use recording::{Beyond, Printed, Streams};
pub use running::Finished;
pub use sibling::{Sibling, companion};
