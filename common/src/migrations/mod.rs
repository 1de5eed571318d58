//! Migrations as files and as rows: what a release brings, what a database has, and how the two
//! stand to each other.
//!
//! Reads only. Applying and undoing belong to `migrate`; `status`, `verify` and `deploy` ask here.

mod files;
mod standing;
mod tracking;

pub use files::{Migration, checksum, read, template_names};
pub use standing::{Standing, compare};
pub use tracking::{Applied, read_applied};
