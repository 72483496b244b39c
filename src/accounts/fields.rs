//! What an operator may write into a user's fields, whichever verb it comes by.

use super::phone::PhoneProblem;
use super::user_id::looks_like_user_id;

/// Why a value is none for its field, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// Control characters, or marks that nobody sees.
    #[error("{0} holds control or invisible characters: remove them")]
    Invisible(&'static str),
    /// Longer than any such thing is.
    #[error("{what} is longer than {limit} characters: shorten it")]
    TooLong {
        /// Name of the field.
        what: &'static str,
        /// Characters.
        limit: usize,
    },
    /// Nothing to be called by.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// Could be taken for somebody's id.
    #[error("the username looks like a user id (`u_` and 26 letters and digits): choose another one")]
    LooksLikeId,
    /// Not a mailbox.
    #[error("the e-mail address is not written as in `name@example.com`")]
    NoEmail,
    /// Not an address of a picture.
    #[error("the picture is not an http or https address: write it whole, as in `https://example.com/a.png`")]
    NoPicture,
    /// Separators would make two groups of one.
    #[error("the group {0:?} holds `,` or `;`, which separate groups: name it without")]
    GroupSeparator(String),
    /// Attribute names are handled by programs.
    #[error("the attribute {0:?} is not named with 1 to 64 letters, digits, `.`, `_` and `-`")]
    NoAttribute(String),
    /// Not a phone number.
    #[error(transparent)]
    Phone(#[from] PhoneProblem),
}

/// A username: 1 to 128 characters, unlike an id.
///
/// # Errors
/// [`FieldProblem`].
pub fn username(text: &str) -> Result<String, FieldProblem> {
    let text = line("the username", text, 128)?;
    if looks_like_user_id(&text) {
        return Err(FieldProblem::LooksLikeId);
    }
    Ok(text)
}

/// What to call a person: 1 to 256 characters.
///
/// # Errors
/// [`FieldProblem`].
pub fn name(text: &str) -> Result<String, FieldProblem> {
    line("the name", text, 256)
}

/// A mailbox, as far as anybody but its server can tell. Conditions ask for what is behind its only `@`.
///
/// # Errors
/// [`FieldProblem`].
pub fn email(text: &str) -> Result<String, FieldProblem> {
    let text = line("the e-mail address", text, 254)?;
    let good = text.split_once('@').is_some_and(|(mailbox, domain)| {
        !mailbox.is_empty()
            && domain.contains('.')
            && domain.split('.').all(|label| !label.is_empty())
            && !domain.contains('@')
            && !text.contains(|letter: char| letter.is_whitespace() || matches!(letter, ',' | ';' | '<' | '>' | '"'))
    });
    good.then_some(text).ok_or(FieldProblem::NoEmail)
}

/// The address of a picture.
///
/// # Errors
/// [`FieldProblem`].
pub fn picture(text: &str) -> Result<String, FieldProblem> {
    let text = line("the address of the picture", text, 2048)?;
    match url::Url::parse(&text) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none() =>
        {
            Ok(text)
        }
        _ => Err(FieldProblem::NoPicture),
    }
}

/// The name of a group: 1 to 128 characters, none of them a separator.
///
/// # Errors
/// [`FieldProblem`].
pub fn group(text: &str) -> Result<String, FieldProblem> {
    let text = line("the group", text, 128)?;
    if text.contains([',', ';']) {
        return Err(FieldProblem::GroupSeparator(text));
    }
    Ok(text)
}

/// Groups in their order, each once.
///
/// # Errors
/// [`FieldProblem`].
pub fn groups<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, FieldProblem> {
    let mut groups = Vec::new();
    for text in texts {
        let group = group(text)?;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    Ok(groups)
}

/// The name of an attribute.
///
/// # Errors
/// [`FieldProblem`].
pub fn attribute_key(text: &str) -> Result<String, FieldProblem> {
    let good = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    good.then(|| text.to_owned())
        .ok_or_else(|| FieldProblem::NoAttribute(text.to_owned()))
}

/// The value of an attribute: at most 1024 characters.
///
/// # Errors
/// [`FieldProblem`].
pub fn attribute_value(text: &str) -> Result<String, FieldProblem> {
    line("the attribute", text, 1024)
}

/// One line of text that looks like what it is. Space around it is nobody's intention.
fn line(what: &'static str, text: &str, limit: usize) -> Result<String, FieldProblem> {
    let text = text.trim();
    if text.is_empty() {
        Err(FieldProblem::Empty(what))
    } else if text.chars().any(is_invisible) {
        Err(FieldProblem::Invisible(what))
    } else if text.chars().count() > limit {
        Err(FieldProblem::TooLong { what, limit })
    } else {
        Ok(text.to_owned())
    }
}

/// Controls, and the format characters with which one name passes for another. The joiners (U+200C, U+200D) stay: emoji
/// and some scripts need them.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const ID: &str = "u_7zzzzzzzzzzzzzzzzzzzzzzzzz";

    type Check = fn(&str) -> Result<String, FieldProblem>;

    #[test]
    fn what_is_right_is_kept_without_the_space_around_it() {
        let table: [(Check, &str, &str); 12] = [
            (username, " alice ", "alice"),
            (username, "王 小明", "王 小明"),
            (username, "13800138000", "13800138000"),
            (username, "u_short", "u_short"),
            (name, "李\u{2003}雷", "李\u{2003}雷"),
            (name, "👨\u{200d}👩\u{200d}👧", "👨\u{200d}👩\u{200d}👧"),
            (email, "a.b+c@mail.example.com", "a.b+c@mail.example.com"),
            (email, "邮@例子.中国", "邮@例子.中国"),
            (
                picture,
                "https://example.com/a.png?x=1",
                "https://example.com/a.png?x=1",
            ),
            (group, "night shift", "night shift"),
            (attribute_key, "floor.2_a-b", "floor.2_a-b"),
            (attribute_value, "三楼, 左", "三楼, 左"),
        ];
        for (check, text, expected) in table {
            assert_eq!(check(text).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_reason() {
        use FieldProblem::*;
        let long = "x".repeat(129);
        let email_long = format!("{}@example.com", "x".repeat(250));
        let too_long = |what, limit| TooLong { what, limit };
        let table: Vec<(Check, &str, FieldProblem)> = vec![
            (username, "  ", Empty("the username")),
            (username, "a\tb", Invisible("the username")),
            (username, "a\u{202e}b", Invisible("the username")),
            (username, "ali\u{200b}ce", Invisible("the username")),
            (username, &long, too_long("the username", 128)),
            (username, ID, LooksLikeId),
            (username, "Ｕ_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", LooksLikeId),
            (name, "a\nb", Invisible("the name")),
            (email, "alice", NoEmail),
            (email, "@example.com", NoEmail),
            (email, "alice@localhost", NoEmail),
            (email, "a@evil.com@example.com", NoEmail),
            (email, "a b@example.com", NoEmail),
            (email, "a@example..com", NoEmail),
            (email, &email_long, too_long("the e-mail address", 254)),
            (picture, "a.png", NoPicture),
            (picture, "javascript:alert(1)", NoPicture),
            (picture, "https://user:password@example.com/a.png", NoPicture),
            (group, "a,b", GroupSeparator("a,b".to_owned())),
            (group, "a;b", GroupSeparator("a;b".to_owned())),
            (group, "", Empty("the group")),
            (attribute_key, "", NoAttribute(String::new())),
            (attribute_key, "a b", NoAttribute("a b".to_owned())),
        ];
        for (check, text, expected) in table {
            assert_eq!(check(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn groups_keep_their_order_and_come_once() {
        assert_eq!(groups(["b", " a", "b "]).unwrap(), ["b", "a"]);
        assert_eq!(groups(["b", ""]), Err(FieldProblem::Empty("the group")));
    }
}
