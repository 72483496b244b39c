//! From tables of the file to settings, one file per subject.
//!
//! What can be said about one key alone is said here; what needs two is in [`check`](super::check).

mod appearance;
mod connections;
mod policy;
mod server;
mod sites;

use toml::de::DeTable;

use super::reading::Reading;
use super::schema::{self, ROOT};
use super::section::Section;
use super::settings::Settings;

/// Reads the whole file. After a mistake the settings hold stand-ins and must not be used.
pub(super) fn read(reading: &mut Reading<'_>, document: &DeTable<'_>) -> Settings {
    let root = Section::open(reading, "", ROOT, Some(document));
    let server = root.table(reading, "server", schema::SERVER);
    let store = root.table(reading, "store", schema::STORE);
    let session = root.table(reading, "session", schema::SESSION);
    let identity = root.table(reading, "identity", schema::IDENTITY);
    let login = root.table(reading, "login", schema::LOGIN);
    let limits = root.table(reading, "limits", schema::LIMITS);
    let branding = root.table(reading, "branding", schema::BRANDING);
    let log = root.table(reading, "log", schema::LOG);
    let audit = root.table(reading, "audit", schema::AUDIT);
    let wechat = root.table(reading, "wechat", schema::WECHAT);

    let server = server::read_server(reading, &server);
    let store = server::read_store(reading, &store, &server.data_dir);
    let identity = policy::read_identity(reading, &identity);
    let limits = policy::read_limits(reading, &limits);
    let connections = connections::read_connections(reading, &root);
    let sites = sites::read_sites(reading, &root, &connections, &identity, &limits);
    Settings {
        server,
        store,
        session: policy::read_session(reading, &session),
        identity,
        login: policy::read_login(reading, &login),
        limits,
        branding: appearance::read_branding(reading, &branding),
        log: appearance::read_log(reading, &log),
        audit: appearance::read_audit(reading, &audit),
        wechat: appearance::read_wechat(reading, &wechat),
        connections,
        sites,
    }
}
