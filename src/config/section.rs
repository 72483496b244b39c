//! Typed reading of one table of the file.
//!
//! Each method reads one key: it looks the key up in the [schema](super::schema), parses what the operator wrote or
//! the schema's default with the same parser, and reports what is wrong. Methods that return a plain value return a
//! neutral stand-in after a mistake; nothing is ever started with it, because a file with a mistake yields no settings.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::Fault;
use super::node::{Node, describe_type, without_indices};
use super::reading::{Reading, describe_size};
use super::schema::{Key, Otherwise};
use super::values::{describe_duration, parse_duration, parse_size};
use super::words::{parse_choice, suggest};

/// One table and the keys that it may have.
pub(super) struct Section<'a> {
    path: String,
    keys: &'static [Key],
    table: Option<&'a DeTable<'a>>,
}

impl<'a> Section<'a> {
    /// Opens a table and reports the keys in it that do not exist.
    pub(super) fn open(
        reading: &mut Reading<'_>,
        path: &str,
        keys: &'static [Key],
        table: Option<&'a DeTable<'a>>,
    ) -> Self {
        let section = Self {
            path: path.to_owned(),
            keys,
            table,
        };
        for (name, value) in table.into_iter().flatten() {
            let key = section.key(name.get_ref());
            if keys.iter().any(|known| known.name == name.get_ref()) {
                // A table in brackets has the span of its header, which serves as the place of what is missing in it.
                reading.note(&key, value.span());
            } else {
                reading.note(&key, name.span());
                let remedy = suggest(name.get_ref(), path, keys);
                let place = if path.is_empty() {
                    "at the top of the file".to_owned()
                } else {
                    format!("in `{path}`")
                };
                reading.error(&key, format!("there is no key `{}` {place}", name.get_ref()), remedy);
            }
        }
        section
    }

    /// Opens the table under a key; absent and mistyped ones are empty, so that their defaults hold.
    pub(super) fn table(&self, reading: &mut Reading<'_>, name: &'static str, keys: &'static [Key]) -> Section<'a> {
        let key = self.key(name);
        let table = match self.find(name) {
            None => {
                self.miss(reading, name);
                None
            }
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => Some(table),
                other => {
                    let header = without_indices(&key);
                    let plural = format!("{name}s");
                    let remedy = match other {
                        DeValue::Array(_) if self.declared(&plural).is_some() => format!("did you mean `{plural}`?"),
                        DeValue::Array(_) => format!("write [{header}], with single brackets"),
                        _ => format!("write [{header}] on a line of its own and the keys below it"),
                    };
                    reading.error(
                        &key,
                        format!("`{key}` is a table, not {}", describe_type(other)),
                        remedy,
                    );
                    None
                }
            },
        };
        Section::open(reading, &key, keys, table)
    }

    /// Opens each table of a list of tables.
    pub(super) fn tables(
        &self,
        reading: &mut Reading<'_>,
        name: &'static str,
        keys: &'static [Key],
    ) -> Vec<Section<'a>> {
        let Some(node) = self.node(name) else {
            self.miss(reading, name);
            return Vec::new();
        };
        let elements = node.elements(reading).unwrap_or_default();
        let sections = elements.into_iter().map(|element| element.section(reading, keys));
        sections.collect()
    }

    /// The key path of a key of this table.
    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Whether the operator wrote this key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// What the operator wrote, unread.
    pub(super) fn node(&self, name: &'static str) -> Option<Node<'a>> {
        self.find(name).map(|value| Node {
            key: self.key(name),
            value: value.get_ref(),
            span: Some(value.span()),
        })
    }

    /// Reads a key with any parser: the operator's value, or the default. `None` when it is absent or bad.
    pub(super) fn read<T>(
        &self,
        reading: &mut Reading<'_>,
        name: &'static str,
        parse: impl Fn(&mut Reading<'_>, &Node<'_>) -> Option<T>,
    ) -> Option<T> {
        if let Some(node) = self.node(name) {
            return parse(reading, &node);
        }
        let Some(Otherwise::Is(text)) = self.declared(name).map(|key| key.otherwise) else {
            self.miss(reading, name);
            return None;
        };
        let value = DeValue::parse(text).ok()?;
        parse(
            reading,
            &Node {
                key: self.key(name),
                value: value.get_ref(),
                span: None,
            },
        )
    }

    /// A string through a parser; `None` when it is absent or bad.
    pub(super) fn parse<T>(
        &self,
        reading: &mut Reading<'_>,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        self.read(reading, name, |reading, node| node.parse(reading, &parse))
    }

    /// A list of strings through a parser.
    pub(super) fn list<T>(
        &self,
        reading: &mut Reading<'_>,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        self.read(reading, name, |reading, node| node.list(reading, &parse))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, reading: &mut Reading<'_>, name: &'static str) -> bool {
        self.read(reading, name, |reading, node| {
            let flag = node.value.as_bool();
            if flag.is_none() {
                node.mistyped(reading, "true or false", "write true or false without quotes");
            }
            flag
        })
        .unwrap_or_default()
    }

    /// One of some words; the first option stands in after a mistake.
    pub(super) fn choice<T: Copy>(
        &self,
        reading: &mut Reading<'_>,
        name: &'static str,
        options: &[(&str, T)],
    ) -> Option<T> {
        self.parse(reading, name, |text| parse_choice(text, options))
            .or(options.first().map(|(_, value)| *value))
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &self,
        reading: &mut Reading<'_>,
        name: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let parse = |text: &str| {
            let duration = parse_duration(text)?;
            if bounds.contains(&duration) {
                return Ok(duration);
            }
            let (least, most) = (describe_duration(*bounds.start()), describe_duration(*bounds.end()));
            let nearest = if duration < *bounds.start() { &least } else { &most };
            Err(Fault::new(
                format!("`{text}` is not between {least} and {most}"),
                format!("write at the nearest \"{nearest}\""),
            ))
        };
        self.read(reading, name, |reading, node| {
            if let DeValue::Integer(number) = node.value {
                reading.error(
                    &node.key,
                    format!("`{}` is a duration, and {number} has no unit", node.key),
                    format!("write \"{number}s\" if seconds are meant"),
                );
                return None;
            }
            node.parse(reading, parse)
        })
        .unwrap_or_default()
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, reading: &mut Reading<'_>, name: &'static str, bounds: RangeInclusive<u64>) -> u64 {
        self.read(reading, name, |reading, node| {
            let number = node.number(reading)?;
            if bounds.contains(&number) {
                return Some(number);
            }
            let (least, most) = (bounds.start(), bounds.end());
            reading.error(
                &node.key,
                format!("{number} is not between {least} and {most}"),
                format!("write at the nearest {}", if number < *least { least } else { most }),
            );
            None
        })
        .unwrap_or_default()
    }

    /// A number of bytes, as `"64KiB"` or a plain number, within bounds.
    pub(super) fn size(
        &self,
        reading: &mut Reading<'_>,
        name: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.read(reading, name, |reading, node| {
            let size = match node.value {
                DeValue::Integer(_) => node.number(reading)?,
                DeValue::String(_) => node.parse(reading, parse_size)?,
                _ => {
                    node.mistyped(reading, "a size", "write it as \"64KiB\" or \"100MiB\"");
                    return None;
                }
            };
            if bounds.contains(&size) {
                return Some(size);
            }
            let (least, most) = (describe_size(*bounds.start()), describe_size(*bounds.end()));
            reading.error(
                &node.key,
                format!("{} is not between {least} and {most}", describe_size(size)),
                format!(
                    "write at the nearest \"{}\"",
                    if size < *bounds.start() { least } else { most }
                ),
            );
            None
        })
    }

    /// Text that people read: not empty, no control characters, up to 200 characters.
    pub(super) fn text(&self, reading: &mut Reading<'_>, name: &'static str) -> Option<String> {
        self.parse(reading, name, |text| {
            if text.trim().is_empty() {
                return Err(Fault::new(
                    format!("`{name}` is empty"),
                    "write something, or leave the key out",
                ));
            }
            if text.chars().any(char::is_control) || text.chars().count() > 200 {
                return Err(Fault::new(
                    format!("`{name}` has control characters or more than 200 characters"),
                    "write one short line",
                ));
            }
            Ok(text.trim().to_owned())
        })
    }

    /// A path of a file or directory, made absolute.
    pub(super) fn path(&self, reading: &mut Reading<'_>, name: &'static str) -> Option<PathBuf> {
        let text = self.parse(reading, name, parse_file_name)?;
        Some(reading.resolve(&text))
    }

    /// Reports a key that cannot be left out.
    pub(super) fn miss(&self, reading: &mut Reading<'_>, name: &'static str) {
        let declared = self.declared(name);
        debug_assert!(declared.is_some(), "{} is read and not declared", self.key(name));
        // Of a table that is not there, or is none, that has been said.
        if let (
            Some(_),
            Some(Key {
                kind,
                otherwise: Otherwise::Required,
                ..
            }),
        ) = (self.table, declared)
        {
            let key = self.key(name);
            reading.error(
                &key,
                format!("`{key}` is missing"),
                format!("add `{name} = …` ({kind})"),
            );
        }
    }

    fn find(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?
            .iter()
            .find_map(|(key, value)| (key.get_ref() == name).then_some(value))
    }

    fn declared(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A file name that the operating system can take.
pub(super) fn parse_file_name(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.contains('\0') {
        return Err(Fault::new(
            "an empty path",
            "write the path of a file, or leave the key out",
        ));
    }
    if text.starts_with("~/") {
        return Err(Fault::new(
            format!("`{text}`: ~ is not expanded"),
            "write the whole path, from / on",
        ));
    }
    Ok(text.to_owned())
}
