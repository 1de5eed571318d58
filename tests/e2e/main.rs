//! The sample app in its own virtual environment, from the first commit to a rollback.
