//! Typed reading of one value of the file.
//!
//! A node knows its key path and, unless it is a default, its place, so that whatever is wrong with it or inside it can
//! be reported where the operator wrote it.

use std::ops::Range;

use toml::de::DeValue;

use super::mistake::Fault;
use super::reading::Reading;
use super::schema::Key;
use super::section::Section;

/// A value with its key path; `span` is absent when the value is a default.
pub(super) struct Node<'a> {
    pub(super) key: String,
    pub(super) value: &'a DeValue<'a>,
    pub(super) span: Option<Range<usize>>,
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
                DeValue::Table(_) => format!("write [[{}]], with two brackets", without_indices(&self.key)),
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
    pub(super) fn number(&self, reading: &mut Reading<'_>) -> Option<u64> {
        let number = self
            .value
            .as_integer()
            .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        match self.value {
            DeValue::Integer(integer) if number.is_none() => {
                reading.error(
                    &self.key,
                    format!("{integer} is not a number from 0 on"),
                    "write a whole number, not below 0",
                );
            }
            _ if number.is_none() => self.mistyped(reading, "a whole number", "write digits without quotes"),
            _ => {}
        }
        number
    }

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

/// A key path as a header writes it: `sites[0].routes` is `sites.routes`.
pub(super) fn without_indices(key: &str) -> String {
    key.split('.')
        .map(|part| part.split('[').next().unwrap_or(part))
        .collect::<Vec<_>>()
        .join(".")
}
