//! A new configuration in a running gateway: read, checked, made into a generation, and taken into use as a whole.
//!
//! Everything that can fail happens before the one swap, so that an invalid file changes nothing. Requests that have
//! begun end under the generation that they began with.
//!
//! Files are looked at once a second instead of being watched by the kernel. Notifications do not come over network and
//! overlay file systems, follow neither an editor that renames nor a Kubernetes volume that swaps a symbolic link, and
//! need a queue that overflows; a dozen `stat` calls a second cost nothing and are right everywhere. A change counts when
//! two looks in a row saw the same, so that half-written files and a certificate whose key is still to come are waited for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::config::{Loaded, Mistake, Settings, Severity, load};
use crate::proxy::gateway::StartError;
use crate::proxy::resources::Resources;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tls::{self, Certificates};
use crate::telemetry::audit::{AuditEvent, AuditKind};
use crate::telemetry::logs;
use crate::telemetry::metrics::Reload;

/// Takes new configurations into use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    snapshot: Arc<ArcSwap<Snapshot>>,
    resources: Arc<Resources>,
    certificates: Arc<Certificates>,
    /// What keeps the upstreams of the generation in use; those of an earlier one end when this is replaced.
    upkeep: Mutex<JoinSet<()>>,
    stopping: watch::Receiver<bool>,
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
}

/// What became of a new configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub generation: u64,
    /// Keys whose new values wait for a restart; everything else is in use.
    pub wait_for_restart: Vec<&'static str>,
}

/// A configuration file and the files that it names, as they were when they were looked at.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    names: Vec<PathBuf>,
    stamps: Vec<Stamp>,
}

impl Source {
    /// As they are now: to be made as soon as they were read, so that no change is missed.
    pub fn new(path: PathBuf, names: Vec<PathBuf>) -> Self {
        let stamps = look(&path, &names);
        Self { path, names, stamps }
    }

    /// The same files as they are now.
    async fn look(&self) -> Vec<Stamp> {
        let Self { path, names, .. } = self.clone();
        // A file system that hangs holds up a thread of its own.
        let looked = tokio::task::spawn_blocking(move || look(&path, &names)).await;
        looked.unwrap_or_else(|_| self.stamps.clone())
    }

    /// Reads the configuration. `None` if that ended in panic.
    async fn load(&mut self) -> Option<Result<Loaded, Vec<Mistake>>> {
        let mut source = self.clone();
        let (source, loaded) = tokio::task::spawn_blocking(move || {
            let loaded = source.load_stamped();
            (source, loaded)
        })
        .await
        .ok()?;
        *self = source;
        Some(loaded)
    }

    /// The stamps are those from before the reading, so that what changes meanwhile is noticed. What a new text names is
    /// known only when it was read: then it is read once more.
    fn load_stamped(&mut self) -> Result<Loaded, Vec<Mistake>> {
        loop {
            self.stamps = look(&self.path, &self.names);
            let loaded = load(&self.path)?;
            if loaded.files == self.names {
                return Ok(loaded);
            }
            self.names = loaded.files;
        }
    }
}

impl Reloader {
    /// Around the generation in use.
    pub(super) fn new(
        snapshot: Arc<ArcSwap<Snapshot>>,
        resources: Arc<Resources>,
        certificates: Arc<Certificates>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let reloader = Self(Arc::new(Inner {
            snapshot,
            resources,
            certificates,
            upkeep: Mutex::default(),
            stopping,
            turn: tokio::sync::Mutex::default(),
        }));
        let current = reloader.0.snapshot.load_full();
        reloader.keep_up(&current);
        let now = reloader.0.resources.clock.now();
        let metrics = &reloader.0.resources.metrics;
        metrics.configured(Reload::Applied, current.generation, now);
        metrics.certificates(reloader.0.certificates.ends());
        reloader
    }

    /// Takes settings into use.
    ///
    /// # Errors
    /// What is wrong with them; the former ones are in use then.
    pub async fn apply(&self, mut settings: Settings) -> Result<Applied, StartError> {
        let inner = &*self.0;
        let _turn = inner.turn.lock().await;
        let former = inner.snapshot.load_full();
        let wait_for_restart = keep_until_restart(&mut settings, &former.settings);
        let filter = logs::filter(&settings.log)?;
        let certificates = Arc::new(tls::load(&settings.server)?);
        let snapshot = inner
            .resources
            .snapshot(settings, Arc::clone(&certificates), Some(&former))
            .await?;
        let snapshot = Arc::new(snapshot);

        inner.certificates.replace(certificates);
        inner.snapshot.store(Arc::clone(&snapshot));
        self.keep_up(&snapshot);
        logs::replace(filter);
        inner.resources.configured.notify_one();

        let (now, metrics) = (inner.resources.clock.now(), &inner.resources.metrics);
        metrics.reloaded(Reload::Applied, snapshot.generation, now);
        metrics.certificates(inner.certificates.ends());
        let event = AuditEvent::new(AuditKind::ConfigReloaded, now);
        inner.resources.auditor.record(event);
        for key in &wait_for_restart {
            warn!(key, "a new value waits for a restart");
        }
        info!(generation = snapshot.generation, "configuration in use");
        Ok(Applied {
            generation: snapshot.generation,
            wait_for_restart,
        })
    }

    /// Reads the file and takes it into use; says in the log what is wrong with it.
    async fn read(&self, source: &mut Source) {
        let refused = match source.load().await {
            Some(Ok(Loaded { settings, warnings, .. })) => {
                warnings.iter().for_each(tell);
                match self.apply(settings).await {
                    Ok(_) => return,
                    Err(error) => error.to_string(),
                }
            }
            None => "reading it ended in panic".to_owned(),
            Some(Err(mistakes)) => {
                mistakes.iter().for_each(tell);
                let errors = mistakes.iter().filter(|mistake| mistake.severity == Severity::Error);
                format!("{} mistake(s) in the configuration", errors.count())
            }
        };
        let generation = self.0.snapshot.load().generation;
        let resources = &self.0.resources;
        let now = resources.clock.now();
        resources.metrics.reloaded(Reload::Refused, generation, now);
        error!(
            reason = refused,
            generation, "configuration not taken, the former one goes on"
        );
    }

    /// Reads the file whenever it, or a file that it names, has changed, and whenever somebody asks; until the gateway
    /// stops.
    pub async fn follow(self, mut source: Source, mut asked: mpsc::Receiver<()>) {
        let mut stopping = self.0.stopping.clone();
        let mut seen = source.stamps.clone();
        loop {
            let demanded = tokio::select! {
                Some(()) = asked.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            let now = source.look().await;
            let settled = now == seen && now != source.stamps;
            seen.clone_from(&now);
            if !demanded && !settled {
                continue;
            }
            info!(path = %source.path.display(), demanded, "reading the configuration anew");
            self.read(&mut source).await;
            seen.clone_from(&source.stamps);
        }
    }

    fn keep_up(&self, snapshot: &Snapshot) {
        let mut tasks = JoinSet::new();
        for upstreams in &snapshot.upstreams {
            tasks.spawn(Arc::clone(upstreams).maintain(self.0.stopping.clone()));
        }
        *self.0.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    }
}

/// Puts back what only a restart can change; the names of what that concerned.
fn keep_until_restart(new: &mut Settings, old: &Settings) -> Vec<&'static str> {
    use secrecy::ExposeSecret;
    let mut kept = Vec::new();
    if new.server.listen != old.server.listen {
        kept.push("server.listen");
        new.server.listen.clone_from(&old.server.listen);
    }
    if new.server.admin_listen != old.server.admin_listen {
        kept.push("server.admin_listen");
        new.server.admin_listen = old.server.admin_listen;
    }
    if new.server.threads != old.server.threads {
        kept.push("server.threads");
        new.server.threads = old.server.threads;
    }
    if new.server.data_dir != old.server.data_dir {
        kept.push("server.data_dir");
        new.server.data_dir.clone_from(&old.server.data_dir);
    }
    if new.store.url.expose_secret() != old.store.url.expose_secret() {
        // A relative file follows the directory: one cause, one name.
        if !kept.contains(&"server.data_dir") {
            kept.push("store.url");
        }
        new.store.url = old.store.url.clone();
    }
    if new.log.format != old.log.format {
        kept.push("log.format");
        new.log.format = old.log.format;
    }
    kept
}

fn tell(mistake: &Mistake) {
    let (line, column, remedy) = (mistake.line, mistake.column, &mistake.remedy);
    match mistake.severity {
        Severity::Error => error!(line, column, remedy, "{}", mistake.message),
        Severity::Warning => warn!(line, column, remedy, "{}", mistake.message),
    }
}

/// By what a changed file is known; `None` while it is not there.
type Stamp = Option<(u64, u64, u64, Option<SystemTime>, i64, i64)>;

fn look(path: &Path, names: &[PathBuf]) -> Vec<Stamp> {
    std::iter::once(path)
        .chain(names.iter().map(PathBuf::as_path))
        .map(stamp)
        .collect()
}

/// Through symbolic links. The time of the last change of the inode tells apart what keeps its modification time, such as
/// an unpacked archive.
fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.modified().ok(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
