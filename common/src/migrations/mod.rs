//! Migrations as files and as rows: what a release brings, what a database has, and how the two
//! stand to each other. `layouts` reads the directories of other tools, `foreign` their tables.
//!
//! Reads only. Applying and undoing belong to `migrate`; `status`, `verify` and `deploy` ask here.

mod directives;
mod directory;
mod files;
mod foreign;
mod layouts;
mod migration;
mod source;
mod standing;
mod tracking;

pub use directives::Directives;
pub use files::template_stem;
pub use foreign::Mark;
pub use layouts::Layout;
pub use layouts::flyway::checksum as flyway_checksum;
pub use migration::{Kind, Migration, Text, checksum};
pub use source::{Files, SETTINGS_FILE, Settings, Source};
pub use standing::{Standing, compare};
pub use tracking::{Applied, UNFINISHED, Unfinished, read_applied, read_unfinished};
