//! One certificate for all servers.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::lane::Tls;
use crate::support::world::{PUBLIC_HOST, SITE};

/// `cert.pem` and `key.pem` in a directory of their own.
pub struct Certificate {
    directory: TempDir,
    own: CertificateDer<'static>,
}

impl Certificate {
    pub fn make() -> Self {
        let names = vec![SITE.to_owned(), PUBLIC_HOST.to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).expect("a file");
        std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
        Self {
            directory,
            own: made.cert.der().clone(),
        }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn trusted(&self) -> Tls {
        Tls::trusting(self.own.clone())
    }
}
