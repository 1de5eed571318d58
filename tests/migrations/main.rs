//! Schema changes in whole deployments.
