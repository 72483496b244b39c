//! The XML of pushed messages: one flat element whose children are fields.
//!
//! Nothing is resolved that a stranger could define: a document type, a processing instruction and every entity but the
//! five of XML itself are refused (CWE-611, CWE-776). A field that stands there twice could be read in two ways, and is
//! refused as well. What a message holds besides (lists of pictures, articles) is passed over.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;

/// The fields of a message, by their names.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

/// Not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XmlFault {
    /// Not well-formed, or not one element with fields.
    #[error("the XML is malformed")]
    Malformed,
    /// Something that a message never has.
    #[error("the XML has a document type, an instruction or an entity")]
    Active,
    /// A field stands there twice.
    #[error("the XML has a field twice")]
    Repeated,
    /// More than a message ever has.
    #[error("the XML is too large or too deep")]
    TooLarge,
}

impl Fields {
    /// Reads `<xml>…</xml>`.
    pub(super) fn read(text: &str) -> Result<Self, XmlFault> {
        if text.len() > LARGEST {
            return Err(XmlFault::TooLarge);
        }
        let mut reader = Reader::from_str(text);
        let mut fields = Self::default();
        let mut depth = 0_usize;
        let mut began = false;
        let mut value = String::new();
        loop {
            match reader.read_event().map_err(|_| XmlFault::Malformed)? {
                Event::Start(start) => {
                    if depth == 0 && began {
                        return Err(XmlFault::Malformed);
                    }
                    if depth == 1 {
                        fields.begin(start.name().as_ref())?;
                        value.clear();
                    }
                    began = true;
                    depth += 1;
                    if depth > DEEPEST {
                        return Err(XmlFault::TooLarge);
                    }
                }
                Event::Empty(start) => match depth {
                    0 if began => return Err(XmlFault::Malformed),
                    0 => began = true,
                    1 => fields.begin(start.name().as_ref())?,
                    _ => {}
                },
                Event::End(_) => {
                    // An end without a beginning is refused by the reader.
                    depth = depth.checked_sub(1).ok_or(XmlFault::Malformed)?;
                    if depth == 1 {
                        fields.end(&mut value);
                    }
                }
                Event::Text(text) => {
                    let text = text.decode().map_err(|_| XmlFault::Malformed)?;
                    take(depth, &text, &mut value)?;
                }
                Event::CData(text) => {
                    let text = text.decode().map_err(|_| XmlFault::Malformed)?;
                    take(depth, &text, &mut value)?;
                }
                Event::GeneralRef(reference) => {
                    let resolved: Cow<'_, str> = match reference.resolve_char_ref() {
                        Ok(Some(character)) => String::from(character).into(),
                        Ok(None) => {
                            let name = reference.decode().map_err(|_| XmlFault::Malformed)?;
                            resolve_xml_entity(&name).ok_or(XmlFault::Active)?.into()
                        }
                        Err(_) => return Err(XmlFault::Malformed),
                    };
                    take(depth, &resolved, &mut value)?;
                }
                Event::DocType(_) | Event::PI(_) => return Err(XmlFault::Active),
                Event::Decl(_) if !began => {}
                Event::Decl(_) => return Err(XmlFault::Malformed),
                Event::Comment(_) => {}
                Event::Eof if began && depth == 0 => return Ok(fields),
                Event::Eof => return Err(XmlFault::Malformed),
            }
        }
    }

    /// The text of a field that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn begin(&mut self, name: &[u8]) -> Result<(), XmlFault> {
        let name = std::str::from_utf8(name).map_err(|_| XmlFault::Malformed)?;
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(XmlFault::Repeated);
        }
        if self.0.len() == MOST_FIELDS {
            return Err(XmlFault::TooLarge);
        }
        self.0.push((name.to_owned(), String::new()));
        Ok(())
    }

    fn end(&mut self, value: &mut String) {
        if let Some((_, last)) = self.0.last_mut() {
            value.trim().clone_into(last);
        }
        value.clear();
    }
}

/// Text counts within a field; outside of all, nothing but white space may stand.
fn take(depth: usize, text: &str, value: &mut String) -> Result<(), XmlFault> {
    match depth {
        2 => value.push_str(text),
        0 if !text.trim().is_empty() => return Err(XmlFault::Malformed),
        _ => {}
    }
    Ok(())
}

/// Reads a text and forgets it.
pub(super) fn read(text: &str) {
    let _ = Fields::read(text);
}

/// Text as a CDATA section; the end mark in it is split over two.
pub(super) fn cdata(text: &str) -> String {
    format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
}

/// Bytes. WeChat's largest messages have a few thousand.
const LARGEST: usize = 64 * 1024;
const DEEPEST: usize = 16;
const MOST_FIELDS: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> Result<Vec<(String, String)>, XmlFault> {
        Fields::read(text).map(|fields| fields.0)
    }

    #[test]
    fn fields_are_read_as_text_in_whatever_form_they_come() {
        let text = "<?xml version=\"1.0\"?>\n<xml>\n <A><![CDATA[a<b>&amp;]]></A>\n <B> 12 </B><C/><D></D>\
                    <E>a&lt;b&#x95e8;&#31070;</E><F><x>no</x><x>no</x></F><G><![CDATA[1]]]]><![CDATA[>2]]></G></xml>\n";
        let fields = Fields::read(text).unwrap();
        let expected = [
            ("A", Some("a<b>&amp;")),
            ("B", Some("12")),
            ("C", None),
            ("D", None),
            ("E", Some("a<b门神")),
            ("F", None),
            ("G", Some("1]]>2")),
            ("H", None),
        ];
        for (name, value) in expected {
            assert_eq!(fields.get(name), value, "{name}");
        }
    }

    #[test]
    fn nothing_that_a_stranger_could_define_is_resolved() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><xml><A>&b;</A></xml>";
        let file = "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><xml><A>&a;</A></xml>";
        for text in [
            bomb,
            file,
            "<xml><A>&b;</A></xml>",
            "<xml><?php x?></xml>",
            "<!DOCTYPE xml><xml></xml>",
        ] {
            assert_eq!(fields(text), Err(XmlFault::Active), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_element_is_no_message() {
        for text in [
            "",
            " ",
            "{\"Encrypt\":\"x\"}",
            "<xml>",
            "<xml></xml><xml></xml>",
            "<xml/><xml/>",
            "</xml>",
            "<xml><A></B></xml>",
            "<xml><A>&#xZZ;</A></xml>",
            "<xml><A>a & b</A></xml>",
            "<xml></xml>x",
            "x<xml></xml>",
            "<xml><A><![CDATA[a</A></xml>",
        ] {
            assert_eq!(fields(text), Err(XmlFault::Malformed), "{text}");
        }
        assert_eq!(fields("<xml><A>1</A><A>2</A></xml>"), Err(XmlFault::Repeated));
        assert_eq!(fields("<xml><A/><A>2</A></xml>"), Err(XmlFault::Repeated));
        assert_eq!(fields(&"<a>".repeat(40)), Err(XmlFault::TooLarge));
        assert_eq!(
            fields(&format!("<xml><A>{}</A></xml>", "a".repeat(LARGEST))),
            Err(XmlFault::TooLarge)
        );
        let many: String = (0..=MOST_FIELDS).map(|number| format!("<A{number}/>")).collect();
        assert_eq!(fields(&format!("<xml>{many}</xml>")), Err(XmlFault::TooLarge));
    }

    proptest! {
        #[test]
        fn every_text_comes_back_out_of_a_cdata_section(text in "[ -~门神\\]>]{0,60}") {
            let xml = format!("<xml><A>{}</A></xml>", cdata(&text));
            let fields = Fields::read(&xml).unwrap();
            prop_assert_eq!(fields.get("A").unwrap_or_default(), text.trim());
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}") {
            crate::wechat::fuzzing::push_xml(text.as_bytes());
        }

        #[test]
        fn nearly_xml_does_not_either(parts in prop::collection::vec(prop::sample::select(PARTS), 0..24)) {
            crate::wechat::fuzzing::push_xml(parts.concat().as_bytes());
        }
    }

    const PARTS: &[&str] = &[
        "<xml>",
        "</xml>",
        "<A>",
        "</A>",
        "<A/>",
        "<![CDATA[",
        "]]>",
        "&amp;",
        "&x;",
        "&#0;",
        "&#x10ffff;",
        "<!--",
        "-->",
        "<?xml ?>",
        "<!DOCTYPE x>",
        "x",
        " ",
        "\"",
        "<",
        ">",
        "&",
    ];
}
