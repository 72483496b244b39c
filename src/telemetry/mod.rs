//! Logs, metrics, audit, and the clock that they and everything else are stamped by.

pub mod audit;
pub mod clock;
pub mod logs;
pub mod metrics;
#[cfg(feature = "otel")]
pub mod traces;
#[cfg(not(feature = "otel"))]
#[path = "traces_off.rs"]
pub mod traces;
