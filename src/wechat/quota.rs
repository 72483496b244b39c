//! What WeChat says about the quota of a call (getApiQuota).

use serde::{Deserialize, Serialize};

/// The quota of one call on one day, which begins at midnight in Beijing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct CallQuota {
    /// Calls that a day has.
    pub daily_limit: i64,
    /// Calls that are gone.
    pub used: i64,
    /// Calls that are left.
    pub remain: i64,
}

/// The request.
#[derive(Serialize)]
pub(super) struct QuotaRequest {
    pub(super) cgi_path: &'static str,
}

/// The answer, of which the limit per minute is not read.
#[derive(Deserialize)]
pub(super) struct QuotaAnswer {
    pub(super) quota: CallQuota,
}
