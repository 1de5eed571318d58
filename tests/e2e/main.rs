//! The sample app in its own virtual environment, the commands of the README, and the documents.
#![allow(clippy::unwrap_used)]

mod documents;
mod plan;
mod readme;
mod viewer;
