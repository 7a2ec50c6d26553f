//! What a server wants to be told about us (RFC 9110, section 11.6.1, `WWW-Authenticate`).

/// A way to authenticate that a server offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The scheme, in lower case.
    pub scheme: String,
    /// Its parameters; the names in lower case.
    pub params: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of a header. What makes no sense is passed over: the server then gets no answer
/// to it.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let word = token(rest);
        if word.is_empty() {
            return challenges;
        }
        let after = &rest[word.len()..];
        let value = after.trim_start().strip_prefix('=');
        let Some(value) = value else {
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), params: Vec::new() });
            rest = after;
            continue;
        };
        let (value, after) = read_value(value.trim_start());
        if let Some(challenge) = challenges.last_mut() {
            challenge.params.push((word.to_ascii_lowercase(), value));
        }
        rest = after;
    }
}

/// The token that a text begins with (RFC 9110, section 5.6.2).
fn token(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(c));
    &text[..end.unwrap_or(text.len())]
}

/// A token or quoted string, and what follows it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let value = token(text);
        return (value.to_owned(), &text[value.len()..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        let shown = |header| {
            let show = |c: Challenge| {
                let params = c.params.iter().map(|(name, value)| format!(" {name}=<{value}>"));
                format!("{}{}", c.scheme, params.collect::<String>())
            };
            parse(header).into_iter().map(show).collect::<Vec<_>>().join("; ")
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                "bearer realm=<https://auth.docker.io/token> service=<registry.docker.io> scope=<repository:a/b:pull,push>",
            ),
            (r#"Basic realm="a \"b\" c""#, r#"basic realm=<a "b" c>"#),
            (
                r#"BASIC Realm = x , Bearer realm=y,error="z""#,
                "basic realm=<x>; bearer realm=<y> error=<z>",
            ),
            ("Negotiate, Basic realm=\"x\"", "negotiate; basic realm=<x>"),
            (r#"Bearer realm="open"#, "bearer realm=<open>"),
            ("", ""),
            ("=,=", ""),
        ] {
            assert_eq!(shown(header), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in "[a-zA-Z \",=\\\\é]{0,60}") {
            parse(&header);
        }
    }
}
