//! What holds for every page, whatever it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::settings::{BindMethod, NumberEntry};
use crate::portal::code::Code;

const ID: &str = "AWjN3mEq4nYB2Qk7v0cTzXr5sLwP9aGd";
const LOCALES: [Locale; 4] = [Locale::ZhCn, Locale::ZhTw, Locale::En, Locale::Ja];
const HOSTILE: &str = "</script><script>alert(1)</script><!--\"'><img src=x onerror=alert(1)>&amp;\u{2028}{name}";
const METHODS: [BindMethod; 2] = [BindMethod::BindCode, BindMethod::Password];

fn shell(locale: Locale, text: &str) -> Shell<'_> {
    Shell {
        locale,
        title: text,
        logo_url: Some("/.menshen/branding/logo"),
        background_url: Some("/.menshen/branding/background"),
        css_url: Some("/.menshen/branding/css"),
        sandbox: true,
        site: Some(SiteLabel {
            name: text,
            host: "wiki.example.com",
        }),
    }
}

fn tab(text: &str) -> Tab<'_> {
    Tab {
        id: "staff",
        display_name: text,
        url: "/.menshen/login?connection=staff",
        bind_methods: &METHODS,
        may_create: true,
    }
}

fn ticket(text: &str) -> TicketView<'_> {
    TicketView {
        id: ID,
        expires_in: 120,
        qr: "data:image/png;base64,AA==",
        open_url: Some(text),
        number: Some(47),
    }
}

fn login<'a>(locale: Locale, text: &'a str, tabs: &'a [Tab<'a>]) -> LoginPage<'a> {
    LoginPage {
        shell: shell(locale, text),
        tabs,
        connection: "staff",
        way: Way::Code(ticket(text)),
        rd: text,
        hand_back_rd: true,
        number_entry: Some(NumberEntry::Choose),
        in_wechat: false,
        mobile: true,
        switching: false,
        simulated_phone_url: Some(text),
        by_message: false,
        connecting: None,
        missed: None,
    }
}

fn connecting(text: &str) -> Connecting<'_> {
    Connecting {
        name: text,
        create_url: "/.menshen/account/connect",
        account_url: "/.menshen/account",
    }
}

fn ticket_page<'a>(locale: Locale, text: &'a str, state: TicketState<'a>) -> TicketPage<'a> {
    TicketPage {
        shell: shell(locale, text),
        id: ID,
        state,
        rd: Some(text),
        new_code_url: text,
        number_entry: Some(NumberEntry::Choose),
        in_wechat: false,
        simulated_phone_url: Some(text),
        by_message: false,
        connecting: None,
    }
}

/// Every page in every state, filled with this text wherever a text goes.
fn every_page(locale: Locale, text: &str) -> Vec<String> {
    let shell = shell(locale, text);
    let tabs = [
        tab(text),
        Tab {
            id: "other",
            ..tab(text)
        },
    ];
    let login = login(locale, text, &tabs);
    let name = Some(text);
    let states = [
        TicketState::Pending {
            qr: text,
            expires_in: 120,
            open_url: Some(text),
            number: Some(47),
        },
        TicketState::Scanned { number: Some(47), name },
        TicketState::Bind {
            methods: &METHODS,
            may_create: true,
            refused: Some(RefusedForm {
                code: Code::ProofWrong,
                method: Some(BindMethod::Password),
                login: text,
            }),
        },
        TicketState::Accept { name: text },
        TicketState::Confirmed {
            name,
            other_user: false,
        },
        TicketState::Confirmed { name, other_user: true },
        TicketState::Ended {
            code: Code::WrongNumber,
        },
    ];
    let actions = [
        Action::SignIn { url: text },
        Action::SwitchAccount { url: text },
        Action::TryAgain { url: text },
        Action::Home { url: text },
        Action::SignOut,
    ];
    let problem = |problem| {
        ProblemPage {
            shell,
            problem,
            name: None,
            request_id: text,
            actions: &actions,
        }
        .render()
    };
    let mut pages = vec![
        login.render(),
        LoginPage {
            in_wechat: true,
            ..login
        }
        .render(),
        LoginPage {
            way: Way::Frame {
                src: text,
                start_url: text,
                renew_url: text,
            },
            ..login
        }
        .render(),
        LoginPage {
            way: Way::Start { url: text },
            ..login
        }
        .render(),
        LoginPage {
            connecting: Some(connecting(text)),
            tabs: &[],
            ..login
        }
        .render(),
        LoginPage {
            by_message: true,
            ..login
        }
        .render(),
        ConfirmPage {
            shell,
            account: text,
            opener_url: Some(text.to_owned()),
        }
        .render(),
        LogoutPage {
            shell,
            name,
            back_url: text,
        }
        .render(),
        LoggedOutPage { shell, login_url: text }.render(),
        LandingPage {
            shell,
            open_url: Some(text),
        }
        .render(),
    ];
    let own = super::account::Moment::of(1_790_000_000);
    let sign_ins = [false, true].map(|is_this| SignInView {
        id: text.to_owned(),
        device: text.to_owned(),
        site: text,
        host: text,
        place: text.to_owned(),
        since: own.clone(),
        last_used: own.clone(),
        is_this,
    });
    let identities = [Some(text), None].map(|connection| IdentityView {
        id: text.to_owned(),
        connection,
        since: own.clone(),
        may_unbind: connection.is_some(),
    });
    pages.push(
        AccountPage {
            shell,
            note: Some(AccountNote::Unbound),
            person: PersonView {
                name,
                username: name,
                phone: name,
                email: name,
                groups: name,
            },
            sign_ins: &sign_ins,
            more_sign_ins: true,
            identities: &identities,
            connectable: &[Connectable { id: text, name: text }],
            may_choose_language: true,
        }
        .render(),
    );
    pages.extend(states.map(|state| ticket_page(locale, text, state).render()));
    pages.extend(states.map(|state| {
        TicketPage {
            connecting: Some(connecting(text)),
            ..ticket_page(locale, text, state)
        }
        .render()
    }));
    pages.extend(Code::ALL.map(|code| problem(Problem::Code(code))));
    pages.extend(
        [LoopCause::Clock, LoopCause::CookieRefused, LoopCause::WrongOrigin].map(|c| problem(Problem::Loop(c))),
    );
    pages
}

/// Start tags, `<name …>`; attribute values hold no `>` because they are escaped.
fn tags(html: &str) -> impl Iterator<Item = &str> {
    html.split('<')
        .skip(1)
        .filter(|part| part.starts_with(|c: char| c.is_ascii_alphabetic()))
        .map(|part| {
            let end = part.find('>').expect("an unfinished tag");
            &part[..end]
        })
}

/// The tag with the values of its attributes taken out.
fn skeleton(tag: &str) -> String {
    tag.split('"').step_by(2).collect()
}

fn config(html: &str) -> serde_json::Value {
    let (_, rest) = html.split_once("id=\"menshen\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// What the page's script says: its own words, and those that the page says otherwise.
fn words(html: &str) -> serde_json::Value {
    let (_, rest) = html.split_once("<script src=\"").unwrap();
    let url = rest.split('"').next().unwrap();
    let script = std::str::from_utf8(asset(url.strip_prefix(ASSET_PREFIX).unwrap()).unwrap().bytes).unwrap();
    let first = script.lines().next().unwrap();
    let own = first.strip_prefix("const WORDS = ").unwrap().strip_suffix(';').unwrap();
    let mut words: serde_json::Value = serde_json::from_str(own).unwrap();
    let config = config(html);
    for part in ["texts", "problems"] {
        for (name, text) in config[part].as_object().into_iter().flatten() {
            words[part][name] = text.clone();
        }
    }
    words
}

#[test]
fn no_page_needs_more_than_the_policy_allows() {
    for page in LOCALES.iter().flat_map(|locale| every_page(*locale, "plain")) {
        for tag in tags(&page) {
            let skeleton = skeleton(tag);
            assert!(!skeleton.contains("style=") && !skeleton.contains(" on"), "{tag}");
            assert!(!tag.starts_with("style"), "{tag}");
            assert!(!tag.starts_with("script") || tag.contains("src=\"/.menshen/") || tag.contains("application/json"));
        }
        assert!(!page.contains("javascript:"));
    }
}

#[test]
fn hostile_text_stays_text_on_every_page() {
    for locale in LOCALES {
        for (page, plain) in every_page(locale, HOSTILE).iter().zip(&every_page(locale, "plain")) {
            assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{page}");
            let names = |html: &str| tags(html).map(|tag| skeleton(tag).replace("=", "")).collect::<Vec<_>>();
            assert_eq!(names(page), names(plain));
        }
    }
}

#[test]
fn the_script_reads_exactly_what_the_view_holds() {
    let tabs = [tab("x")];
    let html = login(Locale::ZhCn, HOSTILE, &tabs).render();
    let config = config(&html);
    assert_eq!(config["rd"], HOSTILE);
    assert_eq!(config["ticket"]["open_url"], HOSTILE);
    assert_eq!(config["ticket"]["id"], ID);
    assert_eq!(config["ticket"]["number"], 47);
    assert!(html.contains("data-way=\"open\""));
    assert_eq!(
        words(&html)["problems"]["phone_taken"]["title"],
        Texts::of(Locale::ZhCn).problem(Code::PhoneTaken).title
    );
}

#[test]
fn every_element_and_text_that_the_script_uses_exists() {
    let source = include_str!("assets/login.js");
    let tabs = [tab("x")];
    let html = login(Locale::En, "x", &tabs).render();
    let texts = words(&html)["texts"].as_object().unwrap().clone();
    let names = |start: &str, end: fn(char) -> bool| {
        let rest = source.split(start).skip(1);
        rest.map(|rest| rest.split(end).next().unwrap().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    for id in names("$(\"", |c| c == '"') {
        assert!(html.contains(&format!(" id=\"{id}\"")), "no element {id}");
    }
    let used = names("texts.", |c: char| !c.is_ascii_alphabetic() && c != '_');
    for name in &used {
        assert!(texts.contains_key(name), "no text {name}");
    }
    for name in texts.keys() {
        assert!(used.contains(name), "unused text {name}");
    }
}

#[test]
fn a_page_brings_along_what_its_script_says_otherwise() {
    let tabs = [tab("x")];
    let page = LoginPage {
        by_message: true,
        ..login(Locale::Ja, "x", &tabs)
    };
    let html = page.render();
    let own = crate::portal::texts::chat::chat(Locale::Ja);
    assert_eq!(words(&html)["texts"]["scanned_by"], own.scanned_by);
    assert_eq!(config(&html)["texts"].as_object().unwrap().len(), 2);
}

#[test]
fn every_element_and_text_that_the_confirm_page_uses_exists() {
    let source = include_str!("assets/confirm.js");
    let html = ConfirmPage {
        shell: shell(Locale::En, "x"),
        account: "x",
        opener_url: None,
    }
    .render();
    let texts = config(&html)["texts"].as_object().unwrap().clone();
    for id in source.split("$(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(html.contains(&format!(" id=\"{id}\"")), "no element {id}");
    }
    let names: std::collections::BTreeSet<_> = source
        .split("texts.")
        .skip(1)
        .map(|rest| {
            rest.split(|c: char| !c.is_ascii_alphabetic() && c != '_')
                .next()
                .unwrap()
        })
        .collect();
    for name in &names {
        assert!(texts.contains_key(*name), "no text {name}");
    }
    // The template's own.
    let own = ["title", "no_script", "no_script_detail"];
    for name in texts.keys().filter(|name| !own.contains(&name.as_str())) {
        assert!(names.contains(name.as_str()), "unused text {name}");
    }
    for page in LOCALES.map(|locale| {
        ConfirmPage {
            shell: shell(locale, "x"),
            account: "x",
            opener_url: None,
        }
        .render()
    }) {
        assert!(page.len() < 16_000, "{}", page.len());
    }
}

#[test]
fn the_login_page_weighs_less_than_40_kilobytes() {
    for locale in LOCALES {
        let files: usize = [assets::stylesheet_url(), assets::script_url(locale), assets::icon_url()]
            .map(|url| asset(url.strip_prefix(ASSET_PREFIX).unwrap()).unwrap().bytes.len())
            .iter()
            .sum();
        let tabs = [tab("微信扫码登录")];
        let html = login(locale, "知识库", &tabs).render();
        assert!(
            html.len() + files < 40 * 1024,
            "{}: {} + {files}",
            locale.tag(),
            html.len()
        );
    }
}

#[test]
fn the_host_and_the_sandbox_are_named_on_every_page() {
    for locale in LOCALES {
        for page in every_page(locale, "plain") {
            assert!(page.contains("<bdi>wiki.example.com</bdi>"));
            assert!(page.contains(Texts::of(locale).page.sandbox_banner));
            assert!(page.contains(&format!("<html lang=\"{}\">", locale.tag())));
        }
    }
    let shell = Shell {
        sandbox: false,
        ..shell(Locale::En, "plain")
    };
    assert!(!LoggedOutPage { shell, login_url: "/" }.render().contains("sandbox"));
}

#[test]
fn a_single_connection_shows_no_tabs() {
    let one = [tab("x")];
    let two = [
        tab("x"),
        Tab {
            id: "other",
            ..tab("y")
        },
    ];
    assert!(!login(Locale::En, "x", &one).render().contains("<nav"));
    let html = login(Locale::En, "x", &two).render();
    assert_eq!(html.matches("aria-current=\"page\"").count(), 1);
}

#[test]
fn the_binding_forms_are_there_only_for_connections_that_ask() {
    let asks = [tab("x")];
    let silent = [Tab {
        bind_methods: &[],
        ..tab("x")
    }];
    let strict = [Tab {
        may_create: false,
        bind_methods: &METHODS[..1],
        ..tab("x")
    }];
    let forms = |tabs: &[Tab<'_>]| login(Locale::En, "x", tabs).render().matches("<form ").count();
    assert_eq!((forms(&asks), forms(&silent), forms(&strict)), (3, 0, 1));
}

#[test]
fn a_refused_form_says_why_at_the_field_and_keeps_the_account_but_not_the_proof() {
    let refused = RefusedForm {
        code: Code::ProofWrong,
        method: Some(BindMethod::Password),
        login: "wang",
    };
    let page = |refused| {
        let state = TicketState::Bind {
            methods: &METHODS,
            may_create: true,
            refused,
        };
        ticket_page(Locale::En, "/x", state).render()
    };
    let html = page(Some(refused));
    let message = Texts::of(Locale::En).problem(Code::ProofWrong).message;
    assert!(
        html.contains(&format!("id=\"refused\" role=\"alert\">{message}")),
        "{html}"
    );
    let (_, password) = html.split_once("value=\"password\"").unwrap();
    assert!(password.contains("name=\"login\" value=\"wang\"") && password.contains("aria-invalid=\"true\""));
    assert_eq!(html.matches("aria-invalid").count(), 1);
    assert_eq!(html.matches("value=\"wang\"").count(), 1);
    assert!(!html.contains("name=\"proof\" value"));
    // The refused form is the open one.
    assert!(html.contains("open><summary>Password"), "{html}");
    let fresh = page(None);
    assert!(fresh.contains("role=\"alert\" hidden") && !fresh.contains("aria-invalid"));
    assert!(fresh.contains("open><summary>Bind code"));
}

#[test]
fn the_fields_of_the_forms_are_what_password_managers_expect() {
    let tabs = [tab("x")];
    let html = login(Locale::En, "x", &tabs).render();
    let fields: Vec<_> = tags(&html).filter(|tag| tag.starts_with("input name=")).collect();
    let has = |of: &str, text: &str| {
        fields
            .iter()
            .filter(|tag| tag.contains(of) && tag.contains(text))
            .count()
    };
    assert_eq!(fields.len(), 4);
    assert_eq!(has("name=\"login\"", "autocomplete=\"username\""), 2);
    assert_eq!(has("type=\"password\"", "autocomplete=\"current-password\""), 1);
    assert_eq!(has("type=\"text\"", "autocomplete=\"one-time-code\""), 1);
}

#[test]
fn without_javascript_the_login_page_leads_to_the_ticket() {
    let tabs = [tab("x")];
    let page = login(Locale::En, "/a b?c=d&e", &tabs);
    let url = format!("/.menshen/tickets/{ID}/page?rd=%2Fa%20b%3Fc%3Dd%26e");
    let refresh = format!("<noscript><meta http-equiv=\"refresh\" content=\"0; url={url}\"></noscript>");
    assert!(page.render().contains(&refresh));
    let short = LoginPage {
        hand_back_rd: false,
        ..page
    }
    .render();
    assert!(short.contains(&format!("url=/.menshen/tickets/{ID}/page\"")));
}

#[test]
fn the_ticket_page_reloads_only_while_it_waits() {
    let cases = [
        (
            TicketState::Pending {
                qr: "x",
                expires_in: 9,
                open_url: None,
                number: None,
            },
            true,
            0,
        ),
        (
            TicketState::Scanned {
                number: Some(47),
                name: None,
            },
            true,
            1,
        ),
        (
            TicketState::Bind {
                methods: &METHODS,
                may_create: false,
                refused: None,
            },
            false,
            3,
        ),
        (TicketState::Accept { name: "王**" }, true, 1),
        (
            TicketState::Confirmed {
                name: None,
                other_user: false,
            },
            false,
            2,
        ),
        (
            TicketState::Ended {
                code: Code::TicketExpired,
            },
            false,
            0,
        ),
    ];
    for (state, reloads, forms) in cases {
        let html = ticket_page(Locale::En, "/x", state).render();
        assert_eq!(html.contains("http-equiv=\"refresh\""), reloads, "{state:?}");
        assert_eq!(html.matches("<form ").count(), forms, "{state:?}");
    }
    let confirmed = ticket_page(
        Locale::En,
        "/x",
        TicketState::Confirmed {
            name: None,
            other_user: false,
        },
    )
    .render();
    assert!(confirmed.contains(&format!("action=\"/.menshen/tickets/{ID}/redeem\"")));
    assert!(confirmed.contains("name=\"rd\" value=\"/x\""));
}

#[test]
fn the_number_is_named_digit_by_digit() {
    let html = ticket_page(
        Locale::En,
        "/",
        TicketState::Scanned {
            number: Some(47),
            name: None,
        },
    )
    .render();
    assert!(html.contains("role=\"img\" aria-label=\"The number is 4 7\">47<"));
}

#[test]
fn the_words_follow_how_the_number_is_asked_for() {
    let tabs = [tab("x")];
    let page = login(Locale::En, "x", &tabs);
    for (entry, step, scanned) in [
        (
            Some(NumberEntry::Choose),
            "Tap the number you see here, and confirm",
            "Tap this number on your phone",
        ),
        (
            Some(NumberEntry::Type),
            "Type the number you see here, and confirm",
            "Type this number on your phone",
        ),
        (None, "Confirm on your phone", "Tap this number on your phone"),
    ] {
        let html = LoginPage {
            number_entry: entry,
            ..page
        }
        .render();
        assert!(html.contains(&format!("<span>{step}</span>")), "{entry:?}");
        assert_eq!(words(&html)["texts"]["scanned"], scanned, "{entry:?}");
        let state = TicketState::Scanned {
            number: entry.map(|_| 47),
            name: None,
        };
        let html = TicketPage {
            number_entry: entry,
            ..ticket_page(Locale::En, "x", state)
        }
        .render();
        assert_eq!(html.contains(&format!(">{scanned}<")), entry.is_some(), "{entry:?}");
    }
}

#[test]
fn a_problem_names_status_code_and_request() {
    let shell = shell(Locale::En, "x");
    let page = |problem| {
        ProblemPage {
            shell,
            problem,
            name: None,
            request_id: "req-1",
            actions: &[],
        }
        .render()
    };
    let html = page(Problem::Code(Code::UpstreamTimeout));
    assert!(html.contains("504 upstream_timeout") && html.contains("<code>req-1</code>"));
    assert!(page(Problem::Loop(LoopCause::CookieRefused)).contains("loop_cookie"));
}

#[test]
fn a_page_that_connects_asks_at_the_end_and_says_to_whose_account() {
    for locale in LOCALES {
        let own = crate::portal::texts::connect::connect(locale);
        let page = LoginPage {
            connecting: Some(connecting("王**")),
            tabs: &[],
            ..login(locale, "x", &[])
        };
        let html = page.render();
        let (config, words) = (config(&html), words(&html));
        assert!(
            html.contains(own.title) && html.contains("王**") && html.contains(own.pending),
            "{html}"
        );
        assert_eq!(
            (&config["asks"], &config["create"]),
            (&true.into(), &"/.menshen/account/connect".into())
        );
        assert_eq!(
            (&words["texts"]["ask"], &words["texts"]["continue_as"]),
            (&own.ask.into(), &own.yes.into())
        );
        assert_eq!(words["problems"]["ticket_cancelled"]["message"], own.cancelled);
        assert!(words["problems"]["login_required"].is_object());
    }
    // A login asks nothing of the kind.
    let tabs = [tab("x")];
    let html = login(Locale::En, "x", &tabs).render();
    let (plain, words) = (config(&html), words(&html));
    assert!(plain["asks"].is_null() && plain["create"].is_null() && words["problems"]["login_required"].is_null());
    // Nor does a page bring along what its script says already.
    assert!(plain["texts"].is_null() && plain["problems"].is_null());
}
