//! Why WeChat's phone button gives nobody a number: `errno` of its event, for the installation's fault.

/// A known `errno` that the operator must act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhoneFault {
    /// As the mini program sees it.
    pub errno: i64,
    /// Short name for metrics and reports.
    pub name: &'static str,
    /// What the operator does.
    pub remedy: &'static str,
}

impl PhoneFault {
    /// Every one.
    pub const ALL: [Self; 3] = [
        Self {
            errno: 102,
            name: "not_permitted",
            remedy: "Phone numbers need a verified mini program that is not personal: have it verified in the WeChat \
                     console.",
        },
        Self {
            errno: 112,
            name: "not_declared",
            remedy: "Declare the phone number in the mini program's user-privacy guideline in the WeChat console \
                     (Settings, Service content declaration).",
        },
        Self {
            errno: 1_400_001,
            name: "quota_used_up",
            remedy: "The paid verifications of phone numbers are used up: buy more in the WeChat console (Payment, \
                     Phone number).",
        },
    ];

    /// The one with this number; `None` for a person's refusal and for what is not known.
    pub fn find(errno: i64) -> Option<&'static Self> {
        Self::ALL.iter().find(|fault| fault.errno == errno)
    }
}
