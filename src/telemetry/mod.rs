//! Logs, metrics, audit.

pub mod audit;
