//! What WeChat's phone button failed with, in the log and, where the operator must act, in the store for `doctor`.

use tracing::{info, warn};

use crate::login::Login;
use crate::login::phone::PhoneAsk;
use crate::wechat::PhoneFault;

impl Login {
    /// 103 and 104 are the person's refusal; the others keep everybody out until the operator acts. Anybody with WeChat can
    /// report anything: it counts for an open ticket whose phone was asked for the number, and for no other.
    pub(super) async fn note_errno(&self, connection: &str, ask: PhoneAsk, errno: Option<i64>) {
        let Some(errno) = errno.filter(|_| matches!(ask, PhoneAsk::Required | PhoneAsk::Optional)) else {
            return;
        };
        if let 103 | 104 = errno {
            info!(connection, errno, "the phone number was refused");
            return;
        }
        let Some(fault) = PhoneFault::find(errno) else {
            info!(connection, errno, "WeChat gave no phone number");
            return;
        };
        self.metrics.phone_button_failed(fault.name);
        warn!(connection, errno, remedy = fault.remedy, "WeChat gave no phone number");
        if let Err(error) = self.store.phone_failed(connection, errno, self.clock.now()).await {
            warn!(connection, errno, %error, "not written down for menshen doctor");
        }
    }

    /// A number has come: whatever kept numbers away is repaired.
    pub(super) async fn note_number(&self, connection: &str) {
        if let Err(error) = self.store.phone_succeeded(connection).await {
            warn!(connection, %error, "not written down for menshen doctor");
        }
    }
}
