//! Names as they are shown to whoever holds a screen: enough to recognise oneself, not enough to learn who it is.

use super::phone::Phone;
use crate::store::User;

/// A name with the first letter of each word: `王**`, `H** M****`. The number of stars says little: at most four each.
#[must_use]
pub fn masked_name(name: &str) -> String {
    name.split_whitespace()
        .take(WORDS)
        .map(masked_word)
        .collect::<Vec<_>>()
        .join(" ")
}

/// How a user is shown masked: by the name, else by the number, else by the username; none has none of them.
#[must_use]
pub fn masked_user(user: &User) -> Option<String> {
    let name = user.name.as_deref().map(masked_name);
    let phone = || {
        user.phone
            .as_deref()
            .and_then(|phone| Phone::parse(phone).ok())
            .map(|phone| phone.masked())
    };
    let username = || user.username.as_deref().map(masked_name);
    name.filter(|name| !name.is_empty()).or_else(phone).or_else(username)
}

fn masked_word(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next();
    match (first, letters.count()) {
        (Some(first), rest @ 1..) => format!("{first}{}", &MASK[..rest.min(MASK.len())]),
        // A word of one letter would be shown whole.
        _ => "*".to_owned(),
    }
}

/// What stands for hidden characters.
pub(super) const MASK: &str = "****";

/// Words beyond these are left out.
const WORDS: usize = 3;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_masked_name_shows_one_letter_of_each_word() {
        let table = [
            ("王小明", "王**"),
            ("李雷", "李*"),
            ("王", "*"),
            ("欧阳娜娜", "欧***"),
            ("Han Meimei", "H** M****"),
            ("  Ada   Lovelace ", "A** L****"),
            ("J R Tolkien", "* * T****"),
            ("Wolfgang Amadeus Theophilus Mozart", "W**** A**** T****"),
            ("😀😀", "😀*"),
            ("", ""),
        ];
        for (name, expected) in table {
            assert_eq!(masked_name(name), expected, "{name:?}");
        }
    }

    #[test]
    fn a_user_without_a_name_is_shown_by_the_number_then_by_the_username() {
        let user = |name: Option<&str>, phone: Option<&str>, username: Option<&str>| User {
            id: "u_1".to_owned(),
            username: username.map(str::to_owned),
            name: name.map(str::to_owned),
            picture: None,
            phone: phone.map(str::to_owned),
            email: None,
            groups: Vec::new(),
            attributes: serde_json::Map::new(),
            disabled: false,
            service: false,
            has_password: false,
            created_at: 0,
            updated_at: 0,
            last_login_at: None,
        };
        let phone = Some("+8613800138000");
        let table = [
            (user(Some("王小明"), phone, Some("wang")), Some("王**")),
            (user(None, phone, Some("wang")), Some("+86138****8000")),
            (user(Some(" "), phone, None), Some("+86138****8000")),
            (user(None, None, Some("wang")), Some("w***")),
            (user(None, None, None), None),
        ];
        for (user, expected) in table {
            assert_eq!(masked_user(&user).as_deref(), expected);
        }
    }
}
