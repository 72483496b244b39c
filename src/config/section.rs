//! Typed reading of one table of the file.
//!
//! Each method reads one key: it looks the key up in the [schema](super::schema), parses what the operator wrote or
//! the schema's default with the same parser, and reports what is wrong. Methods that return a plain value return a
//! neutral stand-in after a mistake; nothing is ever started with it, because a file with a mistake yields no settings.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::Fault;
use super::reading::{Reading, describe_size};
use super::schema::{Key, Otherwise, TABLES};
use super::values::{describe_duration, parse_duration, parse_size};

/// A value with its key path; `span` is absent when the value is a default.
pub(super) struct Node<'a> {
    pub(super) key: String,
    pub(super) value: &'a DeValue<'a>,
    span: Option<Range<usize>>,
}

/// One table and the keys that it may have.
pub(super) struct Section<'a> {
    path: String,
    keys: &'static [Key],
    table: Option<&'a DeTable<'a>>,
}

impl<'a> Node<'a> {
    /// The string, or a mistake.
    pub(super) fn text(&self, reading: &mut Reading<'_>) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.mistyped(reading, "a string", "write it in double quotes");
        }
        text
    }

    /// The elements with their own key paths, or a mistake.
    pub(super) fn elements(&self, reading: &mut Reading<'_>) -> Option<Vec<Node<'a>>> {
        let Some(array) = self.value.as_array() else {
            let remedy = match self.value {
                DeValue::String(text) => format!("write [\"{}\"]", text.escape_default()),
                DeValue::Table(_) => format!("write [[{}]] above each, with two brackets", self.key),
                _ => "write it in square brackets".to_owned(),
            };
            self.mistyped(reading, "a list", &remedy);
            return None;
        };
        let nodes = array.iter().enumerate().map(|(index, element)| {
            let node = Node {
                key: format!("{}[{index}]", self.key),
                value: element.get_ref(),
                span: self.span.is_some().then(|| element.span()),
            };
            if let Some(span) = &node.span {
                reading.note(&node.key, span.clone());
            }
            node
        });
        Some(nodes.collect())
    }

    /// Key and value of each entry in the order of the file, or a mistake.
    pub(super) fn entries(&self, reading: &mut Reading<'_>) -> Option<Vec<(&'a str, Node<'a>)>> {
        let Some(table) = self.value.as_table() else {
            self.mistyped(reading, "a table", "write it in braces: { name = \"value\" }");
            return None;
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let nodes = entries.into_iter().map(|(name, value)| {
            let node = Node {
                key: format!("{}.{}", self.key, name.get_ref()),
                value: value.get_ref(),
                span: self.span.is_some().then(|| name.span()),
            };
            if let Some(span) = &node.span {
                reading.note(&node.key, span.clone());
            }
            (name.get_ref().as_ref(), node)
        });
        Some(nodes.collect())
    }

    /// Parses the string; a fault is reported at this node.
    pub(super) fn parse<T>(&self, reading: &mut Reading<'_>, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<T> {
        let text = self.text(reading)?;
        parse(text).map_err(|fault| reading.fault(&self.key, fault)).ok()
    }

    /// Parses each string of a list; `None` when one of them is bad, so that indices always mean the file's own.
    pub(super) fn list<T>(
        &self,
        reading: &mut Reading<'_>,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let elements = self.elements(reading)?;
        let parsed: Vec<_> = elements.iter().map(|element| element.parse(reading, &parse)).collect();
        parsed.into_iter().collect()
    }

    /// Reports that this is not the type that it should be.
    pub(super) fn mistyped(&self, reading: &mut Reading<'_>, wanted: &str, remedy: &str) {
        reading.error(
            &self.key,
            format!("`{}` is {wanted}, not {}", self.key, describe_type(self.value)),
            remedy,
        );
    }

    /// A whole number, not negative.
    fn number(&self, reading: &mut Reading<'_>) -> Option<u64> {
        let number = self
            .value
            .as_integer()
            .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        if number.is_none() {
            self.mistyped(reading, "a whole number", "write digits without quotes");
        }
        number
    }
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
                    let remedy = match other {
                        DeValue::Array(_) => format!("write [{key}], with single brackets"),
                        _ => format!("write [{key}] on a line of its own and the keys below it"),
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
        self.parse(reading, name, |text| {
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
                _ => node.parse(reading, parse_size)?,
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
        if let Some(Key {
            kind,
            otherwise: Otherwise::Required,
            ..
        }) = declared
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

impl<'a> Node<'a> {
    /// This value as a table with known keys; a mistyped one is empty.
    pub(super) fn section(&self, reading: &mut Reading<'_>, keys: &'static [Key]) -> Section<'a> {
        let table = self.value.as_table();
        if table.is_none() {
            self.mistyped(
                reading,
                "a table",
                "write it in braces, or as [[…]] on a line of its own",
            );
        }
        Section::open(reading, &self.key, keys, table)
    }
}

/// The value that goes with a word, with a suggestion for a misspelt one.
pub(super) fn parse_choice<T: Copy>(text: &str, options: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = options.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<_> = options.iter().map(|(word, _)| *word).collect();
    let remedy = match nearest(text, words.iter().copied()) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("write one of {}", quote_all(&words)),
    };
    Err(Fault::new(format!("`{text}` is not known here"), remedy))
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

/// What the type of a value is called.
pub(super) fn describe_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Words in double quotes, separated by commas.
pub(super) fn quote_all(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The word that was probably meant.
pub(super) fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let folded = text.to_ascii_lowercase().replace('-', "_");
    words
        .map(|word| {
            (
                strsim::damerau_levenshtein(&folded, &word.to_ascii_lowercase().replace('-', "_")),
                word,
            )
        })
        .filter(|(distance, word)| *distance <= (word.len() / 3).min(3))
        .min()
        .map(|(_, word)| word)
}

fn suggest(name: &str, path: &str, keys: &'static [Key]) -> String {
    if let Some(word) = nearest(name, keys.iter().map(|key| key.name)) {
        return format!("did you mean `{word}`?");
    }
    let elsewhere: Vec<_> = TABLES
        .iter()
        .filter(|table| !table.path.is_empty() && table.keys.iter().any(|key| key.name == name))
        .map(|table| match table.path.strip_suffix("[]") {
            Some(list) => format!("[[{}]]", list.replace("[]", "")),
            None => format!("[{}]", table.path.replace("[]", "")),
        })
        .collect();
    if !elsewhere.is_empty() {
        return format!("`{name}` belongs in {}", elsewhere.join(" or "));
    }
    let known: Vec<_> = keys.iter().map(|key| key.name).collect();
    let place = if path.is_empty() { "the top of the file" } else { path };
    format!("remove it; {place} takes {}", known.join(", "))
}
