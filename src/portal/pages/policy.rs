//! The content security policy of the portal's pages.

/// Origins beyond this one that a page may use. Values are configuration, never taken from a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicySources<'a> {
    /// Pictures of users, `https://…` origins.
    pub images: &'a [&'a str],
    /// Origins to which a form's answer may redirect: other hosts in a hand-off.
    pub form_targets: &'a [&'a str],
    /// Origins that may be shown in a frame of this page: WeChat's, where its code is.
    pub frames: &'a [&'a str],
}

/// The value of `Content-Security-Policy`: nothing but this origin's files, never in a frame.
///
/// A source that could end the directive (`;`, `,`, white space, controls) is left out.
pub fn content_security_policy(extra: PolicySources<'_>) -> String {
    let mut policy = String::from(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; \
         base-uri 'none'; frame-ancestors 'none'; img-src 'self' data:",
    );
    append(&mut policy, extra.images);
    policy.push_str("; form-action 'self'");
    append(&mut policy, extra.form_targets);
    if !extra.frames.is_empty() {
        policy.push_str("; frame-src");
        append(&mut policy, extra.frames);
    }
    policy
}

fn append(policy: &mut String, sources: &[&str]) {
    let clean =
        |source: &&&str| !source.is_empty() && source.bytes().all(|b| b.is_ascii_graphic() && !b";,'".contains(&b));
    for source in sources.iter().filter(clean) {
        policy.push(' ');
        policy.push_str(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_this_origin_is_allowed() {
        let policy = content_security_policy(PolicySources::default());
        assert!(policy.starts_with("default-src 'none'; "));
        for directive in [
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(
                policy.split("; ").any(|part| part == directive),
                "{directive} in {policy}"
            );
        }
        assert!(policy.ends_with("img-src 'self' data:; form-action 'self'"));
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn frames_are_allowed_where_there_is_one() {
        let policy = content_security_policy(PolicySources {
            frames: &["https://open.weixin.qq.com", "x; script-src *"],
            ..PolicySources::default()
        });
        assert!(policy.ends_with("; frame-src https://open.weixin.qq.com"), "{policy}");
        assert!(!content_security_policy(PolicySources::default()).contains("frame-src"));
    }

    #[test]
    fn further_sources_are_added_and_cannot_end_a_directive() {
        let images = [
            "https://img.example.com",
            "x; script-src *",
            "'unsafe-inline'",
            "a,b",
            "",
            "a\r\nb",
        ];
        let policy = content_security_policy(PolicySources {
            images: &images,
            form_targets: &["https://login.example.com"],
            frames: &[],
        });
        assert!(
            policy.contains("img-src 'self' data: https://img.example.com;"),
            "{policy}"
        );
        assert!(
            policy.ends_with("form-action 'self' https://login.example.com"),
            "{policy}"
        );
    }
}
