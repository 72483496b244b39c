//! The certificates of `server.tls`: from when, and until when.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::report::{Finding, Group};
use crate::cli::operator::moment;
use crate::config::Settings;
use crate::telemetry::clock::Clock;

/// From when and until when, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: i64,
    pub(super) ends: i64,
}

/// Those that this machine's listeners use.
pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let now = Clock::default().now();
    let certificates = settings.server.tls.iter();
    certificates
        .map(|certificate| {
            let subject = certificate.cert.display();
            match read(&certificate.cert) {
                Some(validity) => validity.judged(Group::Certificates, subject, now),
                None => Finding::fail(
                    Group::Certificates,
                    "certificate",
                    subject,
                    "the file cannot be read",
                    "Name the full chain in PEM, readable for the user that the gateway runs as.",
                ),
            }
        })
        .collect()
}

fn read(path: &Path) -> Option<Validity> {
    let bytes = std::fs::read(path).ok()?;
    let leaf = CertificateDer::pem_slice_iter(&bytes).next()?.ok()?;
    Validity::of(&leaf)
}

impl Validity {
    /// Of a certificate in DER.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            begins: certificate.validity().not_before.timestamp(),
            ends: certificate.validity().not_after.timestamp(),
        })
    }

    pub(super) fn judged(self, group: Group, subject: impl std::fmt::Display, now: i64) -> Finding {
        let (check, days) = ("certificate", (self.ends - now) / DAY);
        if self.ends <= now {
            let message = format!("the certificate ended at {}", moment(self.ends));
            return Finding::fail(
                group,
                check,
                subject,
                message,
                "Renew it: browsers and WeChat refuse it.",
            );
        }
        if self.begins > now {
            let message = format!("the certificate begins at {}", moment(self.begins));
            return Finding::fail(group, check, subject, message, "Wait, or set this machine's clock.");
        }
        let message = format!("the certificate ends in {days} days");
        if days < SOON {
            return Finding::warn(
                group,
                check,
                subject,
                message,
                "Renew it, and find out why nobody did: renewal usually comes 30 days before the end.",
            );
        }
        Finding::ok(group, check, subject, message)
    }
}

const DAY: i64 = 86_400;

/// Days. Who renews by themselves does so at a third of 90.
const SOON: i64 = 21;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_its_days() {
        let validity = Validity {
            begins: 1_000 * DAY,
            ends: 1_090 * DAY,
        };
        for (day, verdict) in [
            (999, Verdict::Fail),
            (1_001, Verdict::Ok),
            (1_069, Verdict::Ok),
            (1_070, Verdict::Warn),
            (1_089, Verdict::Warn),
            (1_090, Verdict::Fail),
        ] {
            let finding = validity.judged(Group::Certificates, "a.pem", day * DAY);
            assert_eq!(finding.verdict, verdict, "{day}: {}", finding.message);
        }
    }
}
