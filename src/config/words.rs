//! Words that an operator has to choose from, and the one that a misspelt word was meant to be.

use super::mistake::Fault;
use super::schema::{Key, TABLES};

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
        .filter(|(distance, word)| *distance <= (word.len() / 4).min(3))
        .min()
        .map(|(_, word)| word)
}

/// What to do about a key that does not exist in the table at `path`.
pub(super) fn suggest(name: &str, path: &str, keys: &'static [Key]) -> String {
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

#[cfg(test)]
mod tests {
    use super::{nearest, suggest};
    use crate::config::schema::{LOGIN, SERVER};

    #[test]
    fn a_slip_of_the_hand_is_recognised_and_another_word_is_not() {
        for (text, word) in [
            ("lissten", Some("listen")),
            ("admin-listen", Some("admin_listen")),
            ("PUBLIC_URL", Some("public_url")),
            ("turstedproxies", Some("trusted_proxies")),
            ("port", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, SERVER.iter().map(|key| key.name)), word, "{text}");
        }
        assert_eq!(nearest("uid", ["sid", "sub"].into_iter()), None);
    }

    #[test]
    fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
        assert_eq!(
            suggest("cookie_name", "login", LOGIN),
            "`cookie_name` belongs in [session]"
        );
        assert_eq!(
            suggest("headers", "login", LOGIN),
            "`headers` belongs in [identity] or [[sites]]"
        );
        assert!(suggest("port", "login", LOGIN).starts_with("remove it; login takes answer, "));
    }
}
