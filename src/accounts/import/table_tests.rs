#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn table(text: &str) -> Table {
    read(text.as_bytes(), |_| {})
}

/// `line, column: problem` of each bad line.
fn said(table: &Table) -> Vec<String> {
    let said = |bad: &BadLine| {
        format!(
            "{}, {}: {}",
            bad.line,
            bad.column.as_deref().unwrap_or("-"),
            bad.problem
        )
    };
    table.bad_lines.iter().map(said).collect()
}

#[test]
fn columns_come_in_any_order_and_cells_in_any_quoting() {
    let text = "groups,Phone, username ,attribute:floor,name,email\n\
                ops; night shift ;ops,138 0013 8000,Alice,3,\"Li, \"\"Lei\"\"\",a@example.com\n\
                ,,bob,,\"两\t行\",\n";
    let read = table(&text.replace('\t', ""));
    assert_eq!(read.bad_lines, []);
    let alice = Line {
        number: 2,
        username: Some("Alice".to_owned()),
        username_key: Some("alice".to_owned()),
        name: Some("Li, \"Lei\"".to_owned()),
        phone: Some("+8613800138000".to_owned()),
        email: Some("a@example.com".to_owned()),
        groups: Some(vec!["ops".to_owned(), "night shift".to_owned()]),
        attributes: vec![("floor".to_owned(), "3".to_owned())],
    };
    let bob = Line {
        number: 3,
        username: Some("bob".to_owned()),
        username_key: Some("bob".to_owned()),
        name: Some("两行".to_owned()),
        ..Line::default()
    };
    assert_eq!(read.lines, [alice, bob]);
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let lines = [
        "username,name",
        "alice,a",
        "",
        "bob,\"b\"",
        "",
        "u_7zzzzzzzzzzzzzzzzzzzzzzzzz,c",
    ];
    for end in ["\n", "\r\n", "\r"] {
        for mark in ["", "\u{feff}"] {
            let read = table(&format!("{mark}{}", lines.join(end)));
            let numbers: Vec<_> = read.lines.iter().map(|line| line.number).collect();
            assert_eq!(numbers, [2, 4], "{end:?} {mark:?}");
            assert_eq!(
                read.bad_lines.iter().map(|bad| bad.line).collect::<Vec<_>>(),
                [6],
                "{end:?} {mark:?}"
            );
        }
    }
    // A cell of several lines counts as several.
    let read = table("username,email\nalice,\"a\nb\"\nbob,b\n");
    assert_eq!(read.bad_lines.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn every_bad_line_is_told_with_its_number_and_what_to_do() {
    let read = table(
        "username,phone,email,groups,name\n\
         alice,13800138000,a@example.com,ops,A\n\
         ,,,ops,nobody\n\
         bob,12,b,\"x,y\",B\n\
         carol,13800138001,c@example.com,ops\n\
         ALICE,13800138002,,,\n\
         dave,+86 138 0013 8000,,,\n",
    );
    let expected = [
        "3, -: neither a username nor a phone number",
        "4, phone: the phone number has no country code",
        "4, email: the e-mail address is not written",
        "4, groups: the group \"x,y\" holds",
        "5, -: 4 cells instead of 5",
        "6, username: the same as on line 2",
        "7, phone: the same as on line 2",
    ];
    let said = said(&read);
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(read.lines.len(), 1);
}

#[test]
fn a_header_that_cannot_be_used_says_which_would_be() {
    let cases = [
        ("username,telephone\na,b\n", "\"telephone\" is unknown"),
        ("username;name;phone\na;b;c\n", "separated by commas"),
        ("username,attribute:a b\na,b\n", "\"attribute:a b\" is unknown"),
        ("name,Name\n", "\"Name\" is there twice"),
        ("name,email\na,b\n", "no column says who is meant"),
        ("", "no column says who is meant"),
    ];
    for (text, expected) in cases {
        let read = table(text);
        assert_eq!(read.bad_lines.len(), 1, "{text}");
        let bad = &read.bad_lines[0];
        assert!(bad.line == 1 && bad.problem.contains(expected), "{bad:?}");
        assert!(
            text.starts_with("name,Name") || bad.problem.contains("username, name, phone, email, groups"),
            "{bad:?}"
        );
    }
}

#[test]
fn other_encodings_are_recognised() {
    // 王 in GB18030, and a file in UTF-16.
    let gb = read(b"username,name\nalice,\xcd\xf5\nbob,b\n", |_| {});
    assert_eq!(gb.lines.len(), 1);
    assert_eq!(
        (gb.bad_lines[0].line, gb.bad_lines[0].column.as_deref()),
        (2, Some("name"))
    );
    assert!(gb.bad_lines[0].problem.contains("GB18030"));
    let wide: Vec<_> = "\u{feff}username\nalice\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let wide = read(&wide, |_| {});
    assert!(wide.bad_lines[0].problem.contains("UTF-8"), "{wide:?}");
}
