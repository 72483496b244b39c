//! What a configuration needs from the machine that it is read on: variables, files, the clock.
//!
//! Behind a trait, so that loading is a function of its arguments and tests need neither process environment nor disk.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

/// The machine as the loader sees it.
pub trait Surroundings {
    /// An environment variable; `None` when unset or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// The first `limit` bytes of a file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// Whether everybody on this machine may read the file; `false` when that cannot be known.
    fn world_readable(&self, path: &Path) -> bool;

    /// The time.
    fn now(&self) -> SystemTime;
}

/// This process and its machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Surroundings for System {
    fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        // Before it is opened: a FIFO would hold the start up for ever.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[cfg(unix)]
    fn world_readable(&self, path: &Path) -> bool {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
    }

    #[cfg(not(unix))]
    fn world_readable(&self, _path: &Path) -> bool {
        false
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! A machine of a test's own.

    use std::collections::BTreeMap;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    use super::Surroundings;

    /// Variables and files as a test sets them; the clock stands in November 2026.
    #[derive(Debug, Default)]
    pub(crate) struct Fake {
        pub(crate) variables: BTreeMap<String, String>,
        pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
        pub(crate) world_readable: Vec<PathBuf>,
    }

    impl Fake {
        pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
            self.variables.insert(name.to_owned(), value.to_owned());
            self
        }

        pub(crate) fn with_file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
            self.files.insert(PathBuf::from(path), content.into());
            self
        }
    }

    impl Surroundings for Fake {
        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).cloned()
        }

        fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
            let bytes = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(bytes
                .iter()
                .copied()
                .take(usize::try_from(limit).unwrap_or(usize::MAX))
                .collect())
        }

        fn world_readable(&self, path: &Path) -> bool {
            self.world_readable.iter().any(|file| file == path)
        }

        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000)
        }
    }
}
