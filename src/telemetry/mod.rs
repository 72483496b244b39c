//! Logs, metrics, audit, and the clock that they and everything else are stamped by.

pub mod audit;
pub mod clock;
pub mod logs;
pub mod metrics;
