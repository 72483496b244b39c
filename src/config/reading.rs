//! One run over a configuration file: where things stand in it, and every mistake found so far.
//!
//! Mistakes are collected, not thrown: a reader reports and goes on with a stand-in, and a check that would build on a
//! value asks first whether it was [`sound`](Reading::sound), so that one slip is not reported three times. Places are
//! kept by key path (`sites[0].hosts[1]`), so that checks over the finished settings can still name line and column.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::mistake::{Fault, Mistake, Severity};
use super::surroundings::Surroundings;

/// The state of one run.
pub(super) struct Reading<'a> {
    pub(super) surroundings: &'a dyn Surroundings,
    file: PathBuf,
    directory: PathBuf,
    source: &'a str,
    places: BTreeMap<String, Range<usize>>,
    bad: BTreeSet<String>,
    mistakes: Vec<Mistake>,
    files: BTreeSet<PathBuf>,
    literal_secret: Option<String>,
}

impl<'a> Reading<'a> {
    /// Begins a run over `source`, the text of `file`.
    pub(super) fn new(file: &Path, source: &'a str, surroundings: &'a dyn Surroundings) -> Self {
        // `menshen.toml` alone has an empty parent, which means the working directory.
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new(".")).to_path_buf();
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        Self {
            surroundings,
            file: file.to_path_buf(),
            directory,
            source,
            places: BTreeMap::new(),
            bad: BTreeSet::new(),
            mistakes: Vec::new(),
            files: BTreeSet::new(),
            literal_secret: None,
        }
    }

    /// Remembers where a key, an element or a table stands.
    pub(super) fn note(&mut self, key: &str, span: Range<usize>) {
        self.places.insert(key.to_owned(), span);
    }

    /// Reports a mistake at a key, or at the nearest thing above it that the operator wrote.
    pub(super) fn error(&mut self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.bad.insert(key.to_owned());
        let place = self.place(key);
        self.report(place, Severity::Error, message.into(), remedy.into());
    }

    /// Reports a mistake at a place in the text.
    pub(super) fn error_at(
        &mut self,
        span: Option<Range<usize>>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.report(span, Severity::Error, message.into(), remedy.into());
    }

    /// Reports the fault of a value.
    pub(super) fn fault(&mut self, key: &str, fault: Fault) {
        self.error(key, fault.message, fault.remedy);
    }

    /// Reports something that works and may surprise.
    pub(super) fn warn(&mut self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let place = self.place(key);
        self.report(place, Severity::Warning, message.into(), remedy.into());
    }

    /// Whether the value at this key, with all that is in it and all that it is in, was read without a mistake.
    pub(super) fn sound(&self, key: &str) -> bool {
        let below = self
            .bad
            .range(key.to_owned()..)
            .take_while(|bad| bad.starts_with(key))
            .any(|bad| is_within(bad, key));
        !below && !ancestors(key).any(|above| self.bad.contains(above))
    }

    /// Whether the operator wrote this key.
    pub(super) fn written(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// A path as the operator wrote it, made absolute: relative ones start at the file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// Reads a file that the configuration names and remembers it for reloads; `limit` is the most it may hold.
    pub(super) fn read_file(&mut self, key: &str, path: &Path, limit: u64) -> Option<Vec<u8>> {
        self.files.insert(path.to_path_buf());
        match self.surroundings.read(path, limit + 1) {
            Ok(bytes) if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) => {
                self.error(
                    key,
                    format!("`{}` is larger than {}", path.display(), describe_size(limit)),
                    "make the file smaller",
                );
                None
            }
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.error(
                    key,
                    format!("`{}` cannot be read: {}", path.display(), cause(&error)),
                    remedy_for(&error),
                );
                None
            }
        }
    }

    /// Checks that a file which the configuration names can be read, without reading all of it.
    pub(super) fn probe_file(&mut self, key: &str, path: &Path) {
        self.files.insert(path.to_path_buf());
        if let Err(error) = self.surroundings.read(path, 1) {
            self.error(
                key,
                format!("`{}` cannot be read: {}", path.display(), cause(&error)),
                remedy_for(&error),
            );
        }
    }

    /// Remembers that a secret stands in the file itself.
    pub(super) fn note_literal_secret(&mut self, key: &str) {
        self.literal_secret.get_or_insert_with(|| key.to_owned());
    }

    /// Warns when a file that holds a secret can be read by everybody on the machine.
    pub(super) fn check_literal_secret(&mut self) {
        let Some(key) = self.literal_secret.clone() else { return };
        if self.surroundings.world_readable(&self.file) {
            self.warn(
                &key,
                format!("`{key}` stands in a file that every user of this machine can read"),
                format!(
                    "chmod o-r {}, or take it from { } = {{ file = \"…\" }}",
                    self.file.display(),
                    short(&key)
                ),
            );
        }
    }

    /// All mistakes in the order of the file, and the files that it named.
    pub(super) fn finish(mut self) -> (Vec<Mistake>, Vec<PathBuf>) {
        self.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        (self.mistakes, self.files.into_iter().collect())
    }

    fn place(&self, key: &str) -> Option<Range<usize>> {
        std::iter::once(key)
            .chain(ancestors(key))
            .find_map(|key| self.places.get(key).cloned())
    }

    fn report(&mut self, span: Option<Range<usize>>, severity: Severity, message: String, remedy: String) {
        let (line, column) = span.map_or((0, 0), |span| line_and_column(self.source, span.start));
        let mistake = Mistake {
            file: self.file.clone(),
            line,
            column,
            severity,
            message,
            remedy,
        };
        // One cause seen from two sides is one mistake.
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }
}

/// Line and column, both from 1, the column in characters.
pub(super) fn line_and_column(source: &str, offset: usize) -> (usize, usize) {
    let offset = (0..=offset.min(source.len()))
        .rev()
        .find(|at| source.is_char_boundary(*at))
        .unwrap_or(0);
    let before = &source[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// A number of bytes as the file would write it.
pub(super) fn describe_size(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

/// What the file system said, without the number.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

fn remedy_for(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "correct the path (a relative one starts at the configuration file) or make the file"
        }
        io::ErrorKind::PermissionDenied => "let the user that runs menshen read it",
        _ => "name a regular file",
    }
}

/// The key paths above a key path, from the nearest on.
fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| key.rfind(['.', '[']).map(|end| &key[..end])).skip(1)
}

/// Whether `key` is `above` or lies below it.
fn is_within(key: &str, above: &str) -> bool {
    key.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The last part of a key path.
fn short(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::surroundings::fake::Fake;
    use super::{Path, Reading, line_and_column};

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let source = "a = 1\ntitle = \"门神\" # x\n";
        assert_eq!(line_and_column(source, 0), (1, 1));
        assert_eq!(line_and_column(source, 6), (2, 1));
        assert_eq!(line_and_column(source, source.find('#').unwrap()), (2, 14));
        assert_eq!(line_and_column(source, 10_000), (3, 1));
    }

    #[test]
    fn soundness_follows_the_tree_of_keys() {
        let fake = Fake::default();
        let mut reading = Reading::new(Path::new("m.toml"), "", &fake);
        reading.error("sites[1].hosts[0]", "x", "y");
        reading.error("login.ticket_ttl_x", "x", "y");
        for (key, sound) in [
            ("sites[1].hosts[0]", false),
            ("sites[1].hosts", false),
            ("sites[1]", false),
            ("sites", false),
            ("sites[10]", true),
            ("sites[0]", true),
            ("login.ticket_ttl", true),
            ("sites[1].hosts[0].x", false),
            ("sites[1].hosts[1]", true),
        ] {
            assert_eq!(reading.sound(key), sound, "{key}");
        }
    }
}
