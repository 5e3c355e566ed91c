//! Misread: text that is not TOML, and what it probably is.
//!
//! In:    a config text that the TOML parser refuses, and the byte where it stopped.
//! Out:   what to do, for the help of the error.
//! Never: accepts the text, or repeats the value of a secret key.

/// The format that a config seems to be written in, if it is another one.
pub(super) fn other_format(text: &str) -> Option<&'static str> {
    let lines = || {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
    };
    let first = lines().next()?;
    if first.starts_with('{') {
        return Some("JSON");
    }
    let is_yaml_line = |line: &str| {
        line == "---" || line.starts_with("- ") || {
            let (key, rest) = line.split_once(':').unwrap_or_default();
            let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            !key.is_empty()
                && key.bytes().all(is_word)
                && (rest.is_empty() || rest.starts_with(' '))
        }
    };
    if is_yaml_line(first) {
        return Some("YAML");
    }
    // A Caddyfile: blocks of sites without `;`, or the directives of one site alone.
    let is_site = first.ends_with('{') && !first.contains('=') && lines().any(|line| line == "}");
    let proxies = lines().any(|line| line.starts_with("reverse_proxy "));
    if proxies || is_site && !lines().any(|line| line.ends_with(';')) {
        return Some("the config of another program, such as Caddy");
    }
    let is_directive = |line: &str| line.ends_with('{') || line.ends_with(';');
    (is_directive(first)
        && lines().any(|line| line.ends_with(';'))
        && lines().any(|line| line == "}"))
    .then_some("the config of another program, such as nginx")
}

/// Keys whose values are secrets.
const SECRETS: [&str; 3] = ["password", "join", "via"];

/// If the line around byte `at` is `key = value` with a string that has no quotes: the line as it
/// should be.
pub(super) fn quoted_line(text: &str, at: usize) -> Option<String> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?;
    let (key, value) = line.split_once('=')?;
    let (key, value) = (
        key.trim(),
        value.split(" #").next().unwrap_or_default().trim(),
    );
    let is_key = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    let is_bare = !value.is_empty() && !value.contains(['"', '\'', '[', ']', '{', '}', '=', ',']);
    let is_secret = SECRETS
        .iter()
        .any(|secret| key.to_ascii_lowercase().contains(secret));
    (is_key && is_bare).then(|| format!("{key} = \"{}\"", if is_secret { "…" } else { value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_formats_are_recognized_by_their_first_lines() {
        assert_eq!(
            other_format("# a comment\n\nedge:\n  - listen: 127.0.0.1:8080\n"),
            Some("YAML")
        );
        assert_eq!(other_format("---\nworkers: 2\n"), Some("YAML"));
        assert_eq!(other_format("{ \"edge\": [] }"), Some("JSON"));
        assert!(
            other_format("server {\n  listen 80;\n}\n")
                .is_some_and(|format| format.contains("nginx"))
        );
        for caddy in [
            "example.com {\n\treverse_proxy localhost:9001\n}\n",
            ":8080\nreverse_proxy localhost:9001\n",
        ] {
            assert_eq!(
                other_format(caddy),
                Some("the config of another program, such as Caddy"),
                "{caddy}"
            );
        }
        for toml in [
            "",
            "workers = two\n",
            "[[edge]]\nlisten = a\n",
            "[limits]\n",
            "listen = 127.0.0.1:8080\n",
            "this is no: thing",
        ] {
            assert_eq!(other_format(toml), None, "{toml}");
        }
    }

    #[test]
    fn a_string_without_quotes_is_shown_with_them() {
        let text = "[[edge]]\nlisten = 127.0.0.1:8080   # here\nname = site\n";
        assert_eq!(
            quoted_line(text, 20).as_deref(),
            Some("listen = \"127.0.0.1:8080\"")
        );
        assert_eq!(quoted_line(text, 48).as_deref(), Some("name = \"site\""));
        for secret in [
            "password = hunter2",
            "Password = hunter2",
            "via = socks5://u:hunter2@h:1",
            "join = by1.hunter2",
        ] {
            assert!(
                !quoted_line(secret, 3)
                    .unwrap_or_default()
                    .contains("hunter2"),
                "{secret}"
            );
        }
        for (text, at) in [
            ("a = \"x\" y", 8),
            ("a = [1, 2", 5),
            ("= 3", 0),
            ("a =", 3),
            ("", 0),
            ("a", 99),
            ("é = ü", 1),
        ] {
            assert_eq!(quoted_line(text, at), None, "{text}");
        }
    }
}
