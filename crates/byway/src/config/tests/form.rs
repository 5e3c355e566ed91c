//! Errors of form: syntax, unknown keys, wrong types; and how errors look.

use std::path::Path;

use super::super::*;
use super::*;

#[test]
fn a_syntax_error_has_line_column_and_caret() {
    let text = "workers = 2\nlisten = = 3\n";
    let error = parse(text, "byway.toml", Path::new("/state"))
        .unwrap_err()
        .to_string();
    let expected = "\
error: this is not valid TOML: extra `=`, expected nothing
 --> byway.toml:2:10
  |
2 | listen = = 3
  |          ^

1 error in byway.toml";
    assert_eq!(error, expected);
}

#[test]
fn two_syntax_errors_show_at_once() {
    let found = errors("workers = \n\n[[edge\nlisten = 1\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("1:"), "{found:?}");
    assert!(found[1].starts_with("3:"), "{found:?}");
}

/// The message and the help of the first error.
fn first(text: &str) -> (String, String) {
    let around = Surroundings::without_files(Path::new("/state"));
    let errors = parse_with(text, "byway.toml", &around).unwrap_err();
    let first = errors.diagnostics()[0].clone();
    (first.message, first.help.unwrap_or_default())
}

#[test]
fn yaml_and_json_are_recognized_and_toml_is_shown() {
    for (text, format) in [
        (
            "edge:\n  - listen: 127.0.0.1:8080\n    to: 127.0.0.1:3000\n",
            "YAML",
        ),
        ("---\nworkers: 2\n", "YAML"),
        ("{\"edge\": [{\"listen\": \"127.0.0.1:8080\"}]}\n", "JSON"),
        (
            "server {\n  listen 80;\n}\n",
            "the config of another program, such as nginx",
        ),
    ] {
        let (message, help) = first(text);
        assert_eq!(message, format!("this is not TOML; it looks like {format}"));
        assert!(help.contains("Byway reads TOML: [[edge]]"), "{help}");
    }
}

#[test]
fn a_string_without_quotes_is_shown_with_its_quotes() {
    for (text, line) in [
        (
            "[[edge]]\nlisten = 127.0.0.1:8080\n",
            "listen = \"127.0.0.1:8080\"",
        ),
        ("[[edge]]\nname = site\n", "name = \"site\""),
        ("[limits]\nhead_bytes = 64KiB\n", "head_bytes = \"64KiB\""),
        (
            "[limits]\nkeep_alive = 60s # long\n",
            "keep_alive = \"60s\"",
        ),
        (
            "[[edge.route]]\nto = http://127.0.0.1:3000\n",
            "to = \"http://127.0.0.1:3000\"",
        ),
        (
            "[[edge.route]]\nto = unix:/run/app.sock\n",
            "to = \"unix:/run/app.sock\"",
        ),
        ("[[edge.route]]\npath = ^/api/\n", "path = \"^/api/\""),
    ] {
        let (message, help) = first(text);
        assert!(message.starts_with("this is not valid TOML: "), "{message}");
        assert_eq!(help, format!("a string needs quotes: {line}"), "{text}");
    }
    let (_, help) = first("[[proxy]]\nusers = 1\npassword = hunter2\n");
    assert!(!help.contains("hunter2"), "{help}");
}

#[test]
fn keys_that_users_try_have_a_hint_with_what_to_write() {
    for (text, says) in [
        (
            with_route("to = \"127.0.0.1:1\"\nssl = true\n"),
            "to = \"https://app.example.com\"",
        ),
        (
            "[[edge]]\nlisten = \"127.0.0.1:1\"\ntls = true\n".to_owned(),
            "https = \":443\"",
        ),
        (
            "[[edge]]\nlisten = \"127.0.0.1:1\"\nhost = \"a.example\"\n".to_owned(),
            "hosts = [\"app.example.com\"]",
        ),
        (
            with_route("to = \"127.0.0.1:1\"\nhostname = \"a.example\"\n"),
            "did you mean `hosts`?",
        ),
        (
            "[[route]]\nto = \"127.0.0.1:1\"\n".to_owned(),
            "[[edge.route]]",
        ),
        (
            "listen = \"127.0.0.1:1\"\n".to_owned(),
            "[[edge]] with listen",
        ),
    ] {
        let (message, help) = first(&text);
        assert!(message.starts_with("unknown key `"), "{message}");
        assert!(help.contains(says), "{help}");
    }
    let (message, help) = first(&with_route("to = \"127.0.0.1:1\"\nhost = \"a.example\"\n"));
    assert_eq!(
        message,
        "`host` must be \"keep\" or \"upstream\", found \"a.example\""
    );
    assert!(
        help.contains("did you mean `hosts`") && help.contains("hosts = [\"a.example\"]"),
        "{help}"
    );
}

#[test]
fn a_key_written_twice_is_a_syntax_error_at_the_second() {
    assert_eq!(
        errors("workers = 2\nworkers = 3\n"),
        ["2:1 `workers` is written twice"]
    );
}

/// The help was once about quotes: `a string needs quotes: workers = "3"`.
#[test]
fn a_key_written_twice_is_shown_with_both_lines_and_what_to_do() {
    for (text, lines, help) in [
        ("workers = 2\nworkers = 3\n", [1, 2], "take one out"),
        (
            "[[edge]]\nlisten = \":1\"\n[[edge]]\nlisten = \":2\"\nlisten = \":3\"\n",
            [4, 5],
            "write a list",
        ),
        (
            "[spill]\nmode = \"off\"\n[[proxy]]\nspill = true\n[spill]\n",
            [1, 5],
            "below one heading",
        ),
        ("[edge]\nname = \"a\"\n[edge]\n", [1, 3], "[[edge]]"),
        ("\"workers\" = 2\nworkers = 3\n", [1, 2], "take one out"),
    ] {
        let error = parse(text, "byway.toml", Path::new("/state"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("is written twice"), "{error}");
        for line in lines {
            assert!(
                error.contains(&format!("byway.toml:{line}:"))
                    || error.contains(&format!("\n{line} |")),
                "{line} in\n{error}"
            );
        }
        assert!(error.contains(help) && !error.contains("quotes"), "{error}");
    }
}

#[test]
fn a_key_of_another_section_is_refused_with_the_section_that_it_belongs_to() {
    for (text, help) in [
        (
            "[[edge]]\nhead_timeout = \"3s\"\n",
            "`head_timeout` belongs to [limits]",
        ),
        (
            "[[edge]]\nworkers = 2\n",
            "`workers` belongs to the top of the file",
        ),
        (
            "[[edge]]\ncidr = \"10.0.0.0/8\"\n",
            "`cidr` belongs to [[proxy.rule]] or [[exit.rule]]",
        ),
        (
            "[[edge]]\n[edge.limits]\n",
            "`limits` is a section of its own: [limits]",
        ),
        (
            "[drain]\nhead_timout = \"3s\"\n",
            "`head_timeout` belongs to [limits]",
        ),
        ("[limits]\nfoo = 1\n", "known here: "),
    ] {
        let (message, found) = first(text);
        assert!(message.starts_with("unknown key"), "{message}");
        assert!(found.starts_with(help), "{text}: {found}");
    }
}

#[test]
fn an_error_of_the_config_is_drawn_with_its_line_and_its_help() {
    let text = with_route("too = \"127.0.0.1:1\"\n");
    let error = parse(&text, "byway.toml", Path::new("/state"))
        .unwrap_err()
        .to_string();
    let expected = "\
error: unknown key `too` in [[edge.route]]
 --> byway.toml:4:1
  |
4 | too = \"127.0.0.1:1\"
  | ^^^
  |
  = help: did you mean `to`?

1 error in byway.toml";
    assert_eq!(error, expected);
}

#[test]
fn an_earlier_place_is_drawn_too() {
    let text = "[[tcp]]\nlisten = \"127.0.0.1:1\"\nto = \"192.0.2.1:1\"\n\n\n[[tcp]]\nlisten = \"127.0.0.1:1\"\nto = \"192.0.2.1:1\"\n";
    let error = parse(text, "byway.toml", Path::new("/state"))
        .unwrap_err()
        .to_string();
    let expected = "\
error: `127.0.0.1:1` is listened on twice
 --> byway.toml:7:10
  |
7 | listen = \"127.0.0.1:1\"
  |          ^^^^^^^^^^^^^
  |
 ::: byway.toml:2:10
  |
2 | listen = \"127.0.0.1:1\"
  |          ------------- first here
  |
  = help: take one of them out or give it another port

1 error in byway.toml";
    assert_eq!(error, expected);
}

#[test]
fn a_password_on_the_line_of_an_error_is_not_shown() {
    let text =
        with_egress("users = [{ name = \"a\", password = \"hunter2\", password_file = \"/x\" }]\n");
    let errors = parse(&text, "byway.toml", Path::new("/state")).unwrap_err();
    for shown in [
        errors.to_string(),
        format!("{errors:?}"),
        errors.render(true),
    ] {
        assert!(shown.contains("password"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_password_of_several_lines_is_not_shown_by_errors_on_any_of_them() {
    for text in [
        "users = [{ name = \"a\", password = \"\"\"x\nhunter2\"\"\", colour = 1 }]\n",
        "users = [{ name = \"a\", password = \"\"\"x\nhunter2\\q\"\"\" }]\n",
        "users = [{ name = \"a\", password = '''x\nhunter2\u{1}''' }]\n",
    ] {
        let errors = parse(&with_egress(text), "byway.toml", Path::new("/state"))
            .unwrap_err()
            .to_string();
        assert!(errors.contains("error: "), "{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn a_password_of_the_wrong_type_is_not_shown() {
    let text = with_egress("users = [{ name = \"a\", password = 4711 }]\n");
    let errors = parse(&text, "byway.toml", Path::new("/state"))
        .unwrap_err()
        .to_string();
    assert!(
        errors.contains("`proxy.users.password` must be a string, found a number"),
        "{errors}"
    );
    assert!(!errors.contains("4711"), "{errors}");
}

#[test]
fn unknown_keys_are_refused_everywhere_with_the_nearest_known_one() {
    let text = with_listener("wokers = 1\n[drain]\ndedline = \"1s\"\n[colour]\n");
    let around = Surroundings::without_files(Path::new("/state"));
    let errors = parse_with(&text, "byway.toml", &around).unwrap_err();
    let shown: Vec<_> = errors
        .diagnostics()
        .iter()
        .map(|d| (d.message.as_str(), d.help.as_deref().unwrap()))
        .collect();
    assert_eq!(
        shown[0],
        (
            "unknown key `wokers` at the top of the file",
            "did you mean `workers`?"
        )
    );
    assert_eq!(
        shown[1],
        (
            "unknown key `dedline` in [drain]",
            "did you mean `deadline`?"
        )
    );
    assert_eq!(shown[2].0, "unknown key `colour` at the top of the file");
    assert!(
        shown[2].1.starts_with("known here: workers, drain, dial"),
        "{}",
        shown[2].1
    );
}

#[test]
fn a_misspelt_key_is_one_error_and_not_also_a_missing_one() {
    assert_eq!(
        errors("[[edges]]\nlisten = 1\n"),
        ["1:3 unknown key `edges` at the top of the file"]
    );
    assert_eq!(
        errors("[[tcp]]\nlistn = \"127.0.0.1:1\"\nto = \"192.0.2.1:1\"\n"),
        ["2:1 unknown key `listn` in [[tcp]]"]
    );
}

#[test]
fn errors_of_wrong_types_show_what_was_expected_and_what_was_found() {
    for (text, error) in [
        (
            with_listener("workers = \"2\""),
            "1:11 `workers` must be a whole number, found the string \"2\"",
        ),
        (
            with_listener("workers = 1.5"),
            "1:11 `workers` must be a whole number, found the number 1.5",
        ),
        (
            with_listener("workers = true"),
            "1:11 `workers` must be a whole number, found true",
        ),
        (
            with_listener("workers = 1979-05-27"),
            "1:11 `workers` must be a whole number, found a date",
        ),
        (
            with_listener("drain = \"30s\""),
            "1:9 `drain` must be a table, found the string \"30s\"",
        ),
        (
            with_listener("[drain]\ndeadline = 30"),
            "2:12 `drain.deadline` must be a string, found the number 30",
        ),
        (
            with_listener("[limits]\nhead_bytes = [1]"),
            "2:14 `limits.head_bytes` must be a string or a whole number, found a list",
        ),
        (
            "[edge]\nlisten = \"127.0.0.1:1\"\n".into(),
            "1:1 `edge` must be a list of tables, found a table",
        ),
        (
            "edge = [1]\n".into(),
            "1:9 `edge` must be a table, found the number 1",
        ),
        (
            with_route("to = [\"127.0.0.1:1\", 2]"),
            "4:22 `edge.route.to` must be a string or a list of strings, found the number 2",
        ),
        (
            with_route("to = {}"),
            "4:6 `edge.route.to` must be a string or a list of strings, found a table",
        ),
        (
            with_egress("open_to_the_world = \"yes\""),
            "3:21 `proxy.open_to_the_world` must be true or false, without quotes, found the string \"yes\"",
        ),
        (
            with_egress("users = [\"alice\"]"),
            "3:10 `proxy.users` must be a table, found a string",
        ),
        (
            with_egress("[[proxy.rule]]\naction = \"deny\"\nport = [4.5]"),
            "5:9 `proxy.rule.port` must be a number, a string or a list of them, found the number 4.5",
        ),
    ] {
        assert_eq!(errors(&text), [error], "{text}");
    }
}

#[test]
fn errors_of_wrong_types_show_an_example_or_the_default() {
    for (text, help) in [
        ("limits.keep_alive = 60".to_owned(), "keep_alive = \"1m\""),
        ("limits.head_fields = \"many\"".into(), "head_fields = 128"),
        ("limits.max_body = true".into(), "max_body = \"10GiB\""),
        ("retry.on = true".into(), "on = [502, 503, 504]"),
        (with_route("hosts = 1"), "hosts = [\"app.example.com\"]"),
        (
            with_egress("open_to_the_world = 1"),
            "open_to_the_world = true",
        ),
        ("edge = 1".into(), "[[edge]]"),
        ("limits = 1".into(), "[limits]"),
    ] {
        assert_eq!(first(&text).1, format!("for example {help}"), "{text}");
    }
}

#[test]
fn negative_and_too_large_numbers_are_refused() {
    assert_eq!(
        errors(&with_listener("workers = -1")),
        ["1:11 `workers` must not be negative, but is -1"]
    );
    let most = i64::MAX;
    assert_eq!(
        errors(&with_listener("workers = 9223372036854775808")),
        [format!("1:11 `workers` is too large: the most is {most}")]
    );
    let long = format!("workers = {}", "9".repeat(60));
    assert_eq!(
        errors(&with_listener(&long)),
        [format!("1:11 `workers` is too large: the most is {most}")]
    );
}

#[test]
fn many_errors_show_at_once_in_the_order_of_the_file() {
    let text = "\
workers = 0
[limits]
head_bytes = \"64XB\"
keep_alive = 60
colour = 1
[[edge]]
listen = \"127.0.0.1\"
[[edge.route]]
path = \"(\"
to = \"3000\"
";
    let found = errors(text);
    assert_eq!(
        found,
        [
            "1:11 `workers` must be at least 1, but is 0",
            "3:14 `limits.head_bytes`: `64XB` has the unknown unit `XB`: write 256KiB, 64MB, 1GiB or a plain number of bytes",
            "4:14 `limits.keep_alive` must be a string, found the number 60",
            "5:1 unknown key `colour` in [limits]",
            "7:10 `listen`: `127.0.0.1` has no port: write 127.0.0.1:8080, [::1]:8080, :8080 for every address, or unix:/run/x.sock",
            "9:8 `path`: not a valid regular expression: unclosed group",
            "10:6 `to`: `3000` is a port alone: write 127.0.0.1:3000",
        ]
    );
    let shown = parse(text, "byway.toml", Path::new("/state"))
        .unwrap_err()
        .to_string();
    assert_eq!(shown.lines().last(), Some("7 errors in byway.toml"));
}

#[test]
fn of_very_many_errors_the_first_are_shown_and_all_are_counted() {
    let text: String = (0..200).map(|n| format!("key{n} = 1\n")).collect();
    let shown = parse(&text, "byway.toml", Path::new("/state"))
        .unwrap_err()
        .to_string();
    assert_eq!(shown.matches("error: ").count(), 50);
    assert_eq!(
        shown.lines().last(),
        Some("200 errors in byway.toml (the first 50 are shown)")
    );
}

#[test]
fn columns_count_characters_also_with_windows_line_ends() {
    let text = with_listener("").replace('\n', "\r\n")
        + "# \u{fc}\u{fc}\r\n[dial]\r\nfamily = \"5\" # \u{fc}\r\n";
    let found = errors(&text);
    assert_eq!(
        found,
        ["7:10 `dial.family` must be \"any\" or \"4\" or \"6\", found \"5\""]
    );
    assert_eq!(
        errors("workers = [\"\u{fc}\u{fc}\", \"x\" y]")[0]
            .split(' ')
            .next(),
        Some("1:22")
    );
}

#[test]
fn control_characters_of_a_config_do_not_reach_the_terminal() {
    let text = with_route("to = \"\\u001b[31mred:1\"\nhost = \"\\u001b[2J\\nx\"\n");
    let errors = parse(&text, "byway.toml", Path::new("/state")).unwrap_err();
    assert!(!errors.to_string().contains('\u{1b}'), "{errors}");
    let message = "`host` must be \"keep\" or \"upstream\", found \"\\u{1b}[2J\\nx\"";
    assert_eq!(errors.diagnostics()[1].message, message);
    assert!(
        errors.diagnostics()[0].message.contains("\\u{1b}[31mred"),
        "{errors}"
    );
}

#[test]
fn a_very_long_value_is_cut_in_the_message() {
    let text = with_listener(&format!("dial.family = \"{}\"", "x".repeat(100_000)));
    let errors = parse(&text, "byway.toml", Path::new("/state")).unwrap_err();
    assert_eq!(errors.diagnostics()[0].message.chars().count(), 401);
    assert!(
        errors.to_string().len() < 2_000,
        "{}",
        errors.to_string().len()
    );
}

#[test]
fn a_missing_file_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("byway.toml");
    let shown = load(&path, folder.path()).unwrap_err().to_string();
    let name = path.display();
    let expected = format!(
        "error: there is no config file {name} (No such file or directory)\n |\n = help: name the file with -c FILE; \
         `byway init` writes one, and `byway edge --listen :8080 --to 3000` and `byway proxy --listen 127.0.0.1:1080` \
         need none"
    );
    assert_eq!(shown, expected);
}

#[test]
fn a_file_that_is_not_text_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("byway.toml");
    fs::write(&path, b"workers = \xff").unwrap();
    let errors = load(&path, folder.path()).unwrap_err();
    assert_eq!(errors.diagnostics().len(), 1);
    assert!(
        errors
            .to_string()
            .contains("is not text: byte 10 is not UTF-8"),
        "{errors}"
    );
    assert!(
        !errors.to_string().contains("-c FILE") && !errors.to_string().contains("1 error"),
        "{errors}"
    );
}
