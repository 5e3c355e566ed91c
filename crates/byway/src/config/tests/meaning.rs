//! Errors in the values of well-formed files.

use std::fs;
use std::path::Path;

use super::super::*;
use super::*;

/// Asserts that `text` has this one error.
fn one(text: &str, error: &str) {
    assert_eq!(errors(text), [error], "{text}");
}

/// Asserts the help of the one error of `text`.
fn help(text: &str, help: &str) {
    let around = Surroundings::without_files(Path::new("/state"));
    let errors = parse_with(text, "byway.toml", &around).unwrap_err();
    assert_eq!(errors.diagnostics().len(), 1, "{errors}");
    assert_eq!(errors.diagnostics()[0].help.as_deref(), Some(help));
}

#[test]
fn a_file_without_listeners_is_refused() {
    one("", "- there is nothing to listen on and nothing to expose");
    one(
        "workers = 1\n",
        "- there is nothing to listen on and nothing to expose",
    );
}

#[test]
fn limits_of_zero_and_out_of_range_are_refused_with_the_range() {
    for (line, error) in [
        ("workers = 0", "1:11 `workers` must be at least 1, but is 0"),
        (
            "workers = 1025",
            "1:11 `workers` must be at most 1024, but is 1025",
        ),
        (
            "limits.connections = 0",
            "1:22 `limits.connections` must be at least 1, but is 0",
        ),
        (
            "limits.head_fields = 0",
            "1:22 `limits.head_fields` must be at least 1, but is 0",
        ),
        (
            "limits.head_bytes = 100",
            "1:21 `limits.head_bytes` must be at least 1KiB, but is 100B",
        ),
        (
            "limits.head_bytes = \"1GiB\"",
            "1:21 `limits.head_bytes` must be at most 256KiB, but is 1GiB",
        ),
        (
            "limits.min_rate = \"0B/s\"",
            "1:19 `limits.min_rate`: `0B/s` is less than one byte per second: write 25MiB/s, 200Mbit/s or 500kbit/s",
        ),
        (
            "retry.attempts = 11",
            "1:18 `retry.attempts` must be at most 10, but is 11",
        ),
        (
            "retry.on = 404",
            "1:12 `retry.on`: `404` is not a status from 500 to 599: write 502, 503 or 504",
        ),
        (
            "retry.replay = \"1MiB\"",
            "1:16 `retry.replay` must be at most 256KiB, but is 1MiB",
        ),
        (
            "retry.budget_percent = 101",
            "1:24 `retry.budget_percent` must be at most 100, but is 101",
        ),
        (
            "retry.budget_per_second = 0",
            "1:27 `retry.budget_per_second` must be at least 1, but is 0",
        ),
        (
            "limits.keep_alive = \"0s\"",
            "1:21 `limits.keep_alive` must be at least 1ms, but is 0s",
        ),
        (
            "limits.max_body = 0",
            "1:19 `limits.max_body` must be at least 1B, but is 0B",
        ),
        (
            "pool.max_total = 0",
            "1:18 `pool.max_total` must be at least 1, but is 0",
        ),
        (
            "pool.queue_wait = \"0ms\"",
            "1:19 `pool.queue_wait` must be at least 1ms, but is 0s",
        ),
        (
            "dial.attempt_delay = \"1ms\"",
            "1:22 `dial.attempt_delay` must be at least 10ms, but is 1ms",
        ),
        (
            "spill.memory = 1",
            "1:16 `spill.memory` must be at least 4KiB, but is 1B",
        ),
        (
            "spill.per_stream = \"0B\"",
            "1:20 `spill.per_stream` must be at least 1B, but is 0B",
        ),
    ] {
        one(&with_listener(line), error);
    }
}

#[test]
fn sizes_and_durations_that_do_not_parse_show_examples() {
    one(
        &with_listener("drain.deadline = \"30\""),
        "1:18 `drain.deadline`: `30` has no unit: write 250ms, 30s, 10m, 1h or 7d",
    );
    one(
        &with_listener("limits.max_body = -1"),
        "1:19 `limits.max_body`: `-1` is negative: write 256KiB, 64MB, 1GiB or a plain number of bytes",
    );
    one(
        &with_egress("stream_limit = \"fast\""),
        "3:16 `stream_limit`: `fast` is not a rate: write 25MiB/s, 200Mbit/s or 500kbit/s",
    );
}

#[test]
fn unknown_words_are_refused_with_the_nearest_known_one() {
    let text = with_listener("spill.mode = \"of\"");
    one(
        &text,
        "1:14 `spill.mode` must be \"auto\" or \"off\", found \"of\"",
    );
    help(&text, "did you mean \"off\"?");
    one(
        &with_egress("default = \"no\""),
        "3:11 `default` must be \"allow\" or \"deny\", found \"no\"",
    );
    one(
        &with_route("to = \"a:1\"\nhost = \"x\""),
        "5:8 `host` must be \"keep\" or \"upstream\", found \"x\"",
    );
}

#[test]
fn a_local_address_has_to_be_one_and_of_the_family() {
    one(
        &with_listener("dial.local_address = \"eth0\""),
        "1:22 `dial.local_address`: `eth0` is not an address: write one such as 192.0.2.1",
    );
    one(
        &with_listener("dial.family = \"6\"\ndial.local_address = \"192.0.2.1\""),
        "2:22 `dial.local_address` 192.0.2.1 is not of the family that `dial.family` allows",
    );
}

#[test]
fn a_spill_directory_is_not_empty() {
    one(
        &with_listener("spill.directory = \"\""),
        "1:19 `spill.directory` is empty: leave it out or name a folder",
    );
}

#[test]
fn every_section_needs_listen() {
    one(
        "[[edge]]\n[[edge.route]]\nto = \"a:1\"\n",
        "1:1 this [[edge]] has no `listen`",
    );
    one("[[proxy]]\n", "1:1 this [[proxy]] has no `listen`");
    one(
        "[[tcp]]\nto = \"a:1\"\n",
        "1:1 this [[tcp]] has no `listen`",
    );
    one(
        "[[tcp]]\nlisten = []\nto = \"a:1\"\n",
        "2:10 `listen` is empty: name at least one address, such as 127.0.0.1:8080",
    );
}

#[test]
fn an_address_is_listened_on_once_across_all_sections() {
    let edge = with_route("to = \"a:1\"\n");
    one(
        &format!("{edge}[[proxy]]\nlisten = \"127.0.0.1:8080\"\n"),
        "6:10 `127.0.0.1:8080` is listened on twice",
    );
    one(
        &format!("{edge}[[tcp]]\nlisten = \":8080\"\nto = \"b:1\"\n"),
        "6:10 `[::]:8080` and `127.0.0.1:8080` overlap: they cannot both be listened on",
    );
    let unix = "[[tcp]]\nlisten = [\"unix:/x\", \"unix:/x\"]\nto = \"b:1\"\n";
    one(unix, "2:22 `unix:/x` is listened on twice");
}

#[test]
fn port_zero_may_be_listened_on_many_times() {
    let plan = plan("[[tcp]]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nto = \"b:1\"\n");
    assert_eq!(plan.listeners.len(), 2);
}

#[test]
fn names_of_sections_and_routes_are_unique_and_printable() {
    let text = "[[tcp]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\nto = \"b:1\"\n[[tcp]]\nname = \"a\"\nlisten = \"127.0.0.1:2\"\nto = \"b:1\"\n";
    one(text, "6:8 the name `a` is taken by another section");
    let routes =
        "name = \"a\"\npath = \"^/x\"\nto = \"b:1\"\n[[edge.route]]\nname = \"a\"\nto = \"b:1\"\n";
    one(
        &with_route(routes),
        "8:8 the name `a` is taken by another route of this edge",
    );
    one(
        &with_route("name = \"\"\nto = \"b:1\"\n"),
        "4:8 `name` is empty: leave it out or write a word",
    );
    one(
        &with_route("name = \"a\\tb\"\nto = \"b:1\"\n"),
        "4:8 `name` holds a control character",
    );
    let long = format!("name = \"{}\"\nto = \"b:1\"\n", "x".repeat(65));
    one(
        &with_route(&long),
        "4:8 `name` has 65 characters: the most is 64",
    );
}

#[test]
fn an_edge_needs_routes_and_a_route_needs_to() {
    one(
        "[[edge]]\nlisten = \"127.0.0.1:1\"\n",
        "1:1 this [[edge]] has no [[edge.route]]",
    );
    one(&with_route("path = \"^/\"\n"), "3:1 this route has no `to`");
    one(
        &with_route("to = []\n"),
        "4:6 `to` is empty: name at least one upstream, such as 127.0.0.1:3000",
    );
    one(
        &with_route("to = \"\"\n"),
        "4:6 `to`: `` is no host: write a name such as example.com, an address such as 192.0.2.1, or [2001:db8::1]",
    );
}

#[test]
fn invalid_upstreams_are_refused() {
    one(
        &with_route("to = \"3000\"\n"),
        "4:6 `to`: `3000` is a port alone: write 127.0.0.1:3000",
    );
    one(
        &with_route("to = [\"a:1\", \"b:0\"]\n"),
        "4:14 `to`: `0` is no port: write a number from 1 to 65535",
    );
    one(
        &with_route("to = \"app:443\"\n"),
        "4:6 `to`: `app:443` is the port of TLS, but has no scheme: write https://app, or http://app:443 if it speaks plain HTTP there",
    );
    one(
        &with_route("to = \"http://app/api\"\n"),
        "4:6 `to`: an upstream is a host and a port, without `/api`: the request keeps its own path",
    );
}

#[test]
fn a_listener_is_not_its_own_target() {
    one(
        &with_route("to = \"127.0.0.1:8080\"\n"),
        "4:6 `to`: `127.0.0.1:8080` is this listener itself: connections would loop",
    );
    one(
        "[[tcp]]\nlisten = \":22\"\nto = \"[::1]:22\"\n",
        "3:6 `to`: `[::1]:22` is this listener itself: connections would loop",
    );
}

#[test]
fn the_error_of_a_bad_pattern_names_what_is_wrong() {
    one(
        &with_route("path = \"^/(api\"\nto = \"a:1\"\n"),
        "4:8 `path`: not a valid regular expression: unclosed group",
    );
    one(
        &with_route("path = '(\\w{100}){100}'\nto = \"a:1\"\n"),
        "4:8 `path`: not a valid regular expression: it is too large when compiled; use fewer or smaller repetitions",
    );
}

#[test]
fn hosts_are_names_stars_or_addresses() {
    one(
        &with_route("hosts = []\nto = \"a:1\"\n"),
        "4:9 `hosts` is empty: leave it out to match every host",
    );
    one(
        &with_route("hosts = [\"a.com:80\"]\nto = \"a:1\"\n"),
        "4:10 `hosts`: `a.com:80` has a port: write the host alone, every port matches",
    );
    one(
        &with_route("hosts = \"*\"\nto = \"a:1\"\n"),
        "4:9 `hosts`: `*` alone is every host: leave `hosts` out instead",
    );
}

#[test]
fn a_route_written_twice_is_reported_as_never_reached() {
    let text = "hosts = [\"a\", \"b\"]\nto = \"a:1\"\n[[edge.route]]\nhosts = [\"b\", \"a\"]\nto = \"b:1\"\n";
    one(
        &with_route(text),
        "6:1 this route is never reached: an earlier one has the same hosts and path",
    );
}

#[test]
fn two_bad_patterns_are_two_errors_and_not_a_third() {
    let text = "path = \"(\"\nto = \"a:1\"\n[[edge.route]]\npath = \")\"\nto = \"b:1\"\n";
    assert_eq!(errors(&with_route(text)).len(), 2);
}

#[test]
fn networks_are_cidr_or_an_address() {
    let edge = |net: &str| {
        format!(
            "[[edge]]\nlisten = \":1\"\ntrusted_proxies = [\"{net}\"]\n[[edge.route]]\nto = \"a:1\"\n"
        )
    };
    one(
        &edge("10.0.0.0/33"),
        "3:20 `trusted_proxies`: `10.0.0.0/33` is not a network: write 10.0.0.0/8, 2001:db8::/32 or an address alone such as 192.0.2.1",
    );
    one(
        &edge("10.1.2.3/8"),
        "3:20 `trusted_proxies`: `10.1.2.3/8` is an address inside a network: write 10.0.0.0/8 for the network or 10.1.2.3 for it alone",
    );
}

#[test]
fn a_forward_takes_bytes_and_no_url() {
    let text = "[[tcp]]\nlisten = \"127.0.0.1:1\"\nto = \"http://a:80\"\n";
    one(
        text,
        "3:6 `to`: a [[tcp]] forwards bytes, so it takes no `http://`",
    );
    help(
        text,
        "write \"a:80\", or use an [[edge]] to forward requests",
    );
    one(
        "[[tcp]]\nlisten = \"127.0.0.1:1\"\n",
        "1:1 this [[tcp]] has no `to`",
    );
    one(
        "[[tcp]]\nlisten = \"127.0.0.1:1\"\nto = \"a\"\n",
        "3:6 `to`: `a` has no port: write HOST:PORT, [IPV6]:PORT or unix:/PATH",
    );
    one(
        "[[tcp]]\nlisten = \"127.0.0.1:1\"\nto = \"unix:x\"\n",
        "3:6 `to`: `unix:x` is not absolute: write the whole path, such as unix:/run/app.sock",
    );
}

#[test]
fn a_public_proxy_without_users_is_refused_with_both_remedies() {
    let text = "[[proxy]]\nlisten = [\"127.0.0.1:1\", \"unix:/x\", \":1080\"]\n";
    one(
        text,
        "2:37 `[::]:1080` can be reached from other machines, and any client could use it",
    );
    help(
        text,
        "add users = [{ name = \"…\", password_file = \"…\" }], or open_to_the_world = true if that is intended, or listen on \
         127.0.0.1",
    );
    for remedy in [
        "open_to_the_world = true",
        "users = [{ name = \"a\", password = \"b\" }]",
    ] {
        plan(&format!("{text}{remedy}\n"));
    }
    one(
        &format!("{text}open_to_the_world = false\nusers = []\n"),
        "2:37 `[::]:1080` can be reached from other machines, and any client could use it",
    );
}

#[test]
fn users_have_a_name_and_one_password() {
    let users = |users: &str| with_egress(&format!("users = [{users}]\n"));
    one(
        &users("{ name = \"a\", password = \"b\", password_file = \"c\" }"),
        "3:56 this user has both `password` and `password_file`",
    );
    one(&users("{ name = \"a\" }"), "3:10 this user has no password");
    one(
        &users("{ password = \"a\" }"),
        "3:10 this user has no `name`",
    );
    one(
        &users("{ name = \"a\", password = \"\" }"),
        "3:35 the password is empty",
    );
    one(
        &users("{ name = \"a\", password = \"\\n\" }"),
        "3:35 the password holds a control character",
    );
    one(
        &users("{ name = \"\", password = \"b\" }"),
        "3:19 the name of this user is empty",
    );
    one(
        &users("{ name = \"a:b\", password = \"b\" }"),
        "3:19 the name of this user holds a colon, which ends the name when it is sent",
    );
    one(
        &users("{ name = \"a\", password = \"b\" }, { name = \"a\", password = \"c\" }"),
        "3:51 the user `a` is listed twice",
    );
    let long = "x".repeat(256);
    one(
        &users(&format!("{{ name = \"a\", password = \"{long}\" }}")),
        "3:35 the password has 256 bytes: the most is 255",
    );
}

#[test]
fn a_password_file_gives_its_first_line_and_has_to_exist() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("alice"), "hunter2\r\nmore\n").unwrap();
    let path = folder.path().join("byway.toml");
    fs::write(
        &path,
        with_egress("users = [{ name = \"a\", password_file = \"alice\" }]\n"),
    )
    .unwrap();
    let plan = load(&path, folder.path()).unwrap();
    let Role::Egress(egress) = &plan.listeners[0].frontend.role else {
        panic!("an exit")
    };
    assert_eq!(egress.users[0].password.expose(), "hunter2");

    fs::write(
        &path,
        with_egress("users = [{ name = \"a\", password_file = \"bob\" }]\n"),
    )
    .unwrap();
    let errors = load(&path, folder.path()).unwrap_err();
    assert_eq!(errors.diagnostics().len(), 1);
    assert_eq!(
        errors.locate(&errors.diagnostics()[0].place),
        Some(LineColumn {
            line: 3,
            column: 40
        })
    );
    let message = &errors.diagnostics()[0].message;
    assert!(
        message.starts_with("`password_file`: cannot read /"),
        "{message}"
    );
    assert!(
        message.ends_with("/bob: No such file or directory (os error 2)"),
        "{message}"
    );

    fs::write(folder.path().join("bob"), "").unwrap();
    let errors = load(&path, folder.path()).unwrap_err();
    assert_eq!(errors.diagnostics()[0].message, "the password is empty");
}

#[test]
fn rules_have_an_action_that_fits_their_via() {
    let rule = |lines: &str| with_egress(&format!("[[proxy.rule]]\n{lines}\n"));
    one(&rule("host = \"a\""), "3:1 this rule has no `action`");
    one(
        &rule("action = \"alow\""),
        "4:10 `action` must be \"allow\" or \"deny\" or \"via\", found \"alow\"",
    );
    one(
        &rule("action = \"deny\"\nvia = \"http://a:1\""),
        "5:7 `via` needs action = \"via\"",
    );
    one(
        &rule("action = \"via\""),
        "4:10 action = \"via\" needs `via`, the parent to go through",
    );
    one(
        &rule("action = \"via\"\nvia = \"ftp://a:1\""),
        "5:7 `via`: `ftp://` is no scheme of a proxy: \
         write http, https, socks4, socks4a, socks5 or socks5h before ://",
    );
}

#[test]
fn rules_name_hosts_networks_ports_and_users_that_exist() {
    let rule = |line: &str| with_egress(&format!("[[proxy.rule]]\naction = \"deny\"\n{line}\n"));
    one(
        &rule("host = \"10.0.0.1\""),
        "5:8 `host`: `10.0.0.1` is an address: write it in `cidr`",
    );
    one(
        &rule("host = \"a:80\""),
        "5:8 `host`: `a:80` has a port or a scheme: write the name alone, and ports in `port`",
    );
    one(
        &rule("host = \"a b\""),
        "5:8 `host`: `a b` is not a host name: write one such as example.com",
    );
    one(
        &rule("suffix = \"*.a.com\""),
        "5:10 `suffix`: `*.a.com` has a star: write suffix = \"a.com\", which covers a.com and everything below it",
    );
    one(
        &rule("cidr = [\"10.0.0.0\", \"x\"]"),
        "5:21 `cidr`: `x` is not a network: write 10.0.0.0/8, 2001:db8::/32 or an address alone such as 192.0.2.1",
    );
    for port in ["0", "\"0-5\"", "65536", "-1", "\"a\"", "\"1-2-3\""] {
        let found = errors(&rule(&format!("port = {port}")));
        let port = port.trim_matches('"');
        let expected = format!(
            "5:8 `port`: `{port}` is not a port or a range of ports: write 443 or 8000-8999, from 1 to 65535"
        );
        assert_eq!(found, [expected]);
    }
    one(
        &rule("port = \"9-5\""),
        "5:8 `port`: `9-5` runs backwards: write 5-9",
    );
    one(
        &rule("port = []"),
        "5:8 `port` is empty: leave it out to match everything",
    );
    one(
        &rule("user = \"bob\""),
        "5:8 there is no user `bob` in this [[proxy]]",
    );
    let near = "users = [{ name = \"alice\", password = \"x\" }]\n[[proxy.rule]]\naction = \"deny\"\nuser = \"alcie\"\n";
    help(&with_egress(near), "did you mean `alice`?");
}

#[test]
fn client_certificates_are_named_by_patterns_and_only_where_a_host_asks_for_them() {
    let rule = |line: &str| with_egress(&format!("[[proxy.rule]]\naction = \"deny\"\n{line}\n"));
    let asked = |line: &str| {
        let client = "[[tls.client]]\nhosts = [\"a.example\"]\nca = \"/c.pem\"\n";
        rule(line) + client
    };
    one(
        &rule("client = \"CN=alice\""),
        "5:10 a rule for client certificates is never met: no host asks for one",
    );
    let found = errors(&asked("client = \"alice\""));
    assert!(
        found[0].starts_with("5:10 `client`: `alice` does not name client certificates: write"),
        "{found:?}"
    );
    one(
        &asked("client = []"),
        "5:10 `client` is empty: leave it out to match everything",
    );
}

#[test]
fn a_rule_behind_one_that_matches_everything_is_never_reached() {
    let rules =
        "[[proxy.rule]]\naction = \"deny\"\n[[proxy.rule]]\naction = \"allow\"\nport = 443\n";
    one(
        &with_egress(rules),
        "5:1 this rule is never reached: the one before it matches everything",
    );
}
