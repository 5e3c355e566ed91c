//! Links: what is wrong with `[link]`, `[[serve]]`, `[[exit]]`, `[[expose]]` and the `join` of a
//! `[[proxy]]`, and what Plans they make.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use byway_link::{Congestion, Fingerprint, GrantId, GrantSecret, JoinString};

use super::super::*;
use super::*;

/// A join string of grant `id` at `address`.
pub(super) fn join_at(address: &str, id: u8) -> String {
    let (pin, id) = (Fingerprint::of_spki(b"key"), GrantId::from_bytes([id; 6]));
    JoinString {
        pin,
        id,
        secret: GrantSecret::from_bytes([9; 24]),
        address: address.parse().unwrap(),
    }
    .expose()
}

fn join() -> String {
    join_at("t.example.com:7000", 7)
}

/// Asserts that `text` has this one error, with this help.
#[track_caller]
fn one(text: &str, error: &str, help: &str) {
    assert_eq!(errors(text), [error], "{text}");
    let around = Surroundings::without_files(Path::new("/state"));
    let errors = parse_with(text, "byway.toml", &around).unwrap_err();
    assert_eq!(
        errors.diagnostics()[0].help.as_deref().unwrap_or_default(),
        help,
        "{text}"
    );
}

/// A `[[serve]]` with `lines`, which begin in line 3.
fn with_serve(lines: &str) -> String {
    format!("[[serve]]\nlisten = \"127.0.0.1:7000\"\n{lines}")
}

/// An `[[expose]]` through [`join`] with `lines`, which begin in line 3.
fn with_expose(lines: &str) -> String {
    format!("[[expose]]\njoin = \"{}\"\n{lines}", join())
}

fn link_of(listener: &ListenerPlan) -> &LinkPlan {
    let Role::Link(link) = &listener.frontend.role else {
        panic!("a listener of links")
    };
    link
}

#[test]
fn settings_of_links_have_defaults_and_ranges() {
    let defaults = LinkSettings {
        congestion: Congestion::Bbr,
        quic_probe: Duration::from_secs(30),
        park: Duration::from_secs(15),
        parked: 1024,
        streams: 8192,
    };
    assert_eq!(plan(&with_listener("")).link, defaults);
    let text = "[link]\ncongestion = \"cubic\"\nquic_probe = \"1h\"\npark = \"0s\"\nparked = 1\nstreams = 65536\n";
    let most = LinkSettings {
        congestion: Congestion::Cubic,
        quic_probe: Duration::from_secs(3600),
        park: Duration::ZERO,
        parked: 1,
        streams: 65_536,
    };
    assert_eq!(plan(&with_listener(text)).link, most);
    for (line, error) in [
        (
            "link.congestion = \"reno\"",
            "1:19 `link.congestion` must be \"bbr\" or \"cubic\", found \"reno\"",
        ),
        (
            "link.quic_probe = \"999ms\"",
            "1:19 `link.quic_probe` must be at least 1s, but is 999ms",
        ),
        (
            "link.quic_probe = \"61m\"",
            "1:19 `link.quic_probe` must be at most 1h, but is 61m",
        ),
        (
            "link.park = \"301s\"",
            "1:13 `link.park` must be at most 5m, but is 301s",
        ),
        (
            "link.parked = 0",
            "1:15 `link.parked` must be at least 1, but is 0",
        ),
        (
            "link.streams = 65537",
            "1:16 `link.streams` must be at most 65536, but is 65537",
        ),
        ("link.pork = 1", "1:6 unknown key `pork` in [link]"),
    ] {
        assert_eq!(errors(&with_listener(line)), [error]);
    }
}

#[test]
fn a_serve_makes_a_listener_of_links_for_each_address_and_an_edge_for_each_of_http() {
    let text = "[[serve]]\nname = \"tunnels\"\nlisten = [\"0.0.0.0:7000\", \"[::1]:0\"]\nhttp = [\":80\", \"unix:/run/x.sock\"]\n\
                domain = \"T.example.com\"\n";
    let plan = plan(text);
    let binds: Vec<_> = plan
        .listeners
        .iter()
        .map(|listener| listener.bind.to_string())
        .collect();
    assert_eq!(
        binds,
        ["0.0.0.0:7000", "[::1]:0", "[::]:80", "unix:/run/x.sock"]
    );
    assert!(
        plan.listeners
            .iter()
            .all(|listener| &*listener.frontend.name == "tunnels")
    );
    let [first, second, web, socket] = plan.listeners.as_slice() else {
        panic!("four listeners")
    };
    let (Role::Link(a), Role::Link(b)) = (&first.frontend.role, &second.frontend.role) else {
        panic!("two for links")
    };
    assert!(Arc::ptr_eq(a, b));
    let domain = "t.example.com".parse().unwrap();
    assert_eq!(
        a.serves,
        Serves::Services {
            domain: Some(domain)
        }
    );
    let (Role::Edge(a), Role::Edge(b)) = (&web.frontend.role, &socket.frontend.role) else {
        panic!("two edges")
    };
    assert!(Arc::ptr_eq(a, b));
    assert_eq!(
        a.domain.as_ref().map(|domain| domain.as_str()),
        Some("t.example.com")
    );
    assert!(a.routes.is_empty() && a.trusted_proxies.is_empty());
}

#[test]
fn a_serve_without_http_takes_tcp_services_only() {
    let plan = plan(&with_serve(""));
    assert_eq!(plan.listeners.len(), 1);
    assert_eq!(
        link_of(&plan.listeners[0]).serves,
        Serves::Services { domain: None }
    );
}

#[test]
fn the_advertised_address_is_the_written_one_or_the_domain_or_a_single_address() {
    let web = "http = \"127.0.0.1:80\"\ndomain = \"t.example.com\"\n";
    for (listen, lines, shown) in [
        (
            "\"0.0.0.0:7000\"",
            "advertise = \"a.example.com:443\"\n",
            "a.example.com:443",
        ),
        (
            "\"0.0.0.0:7000\"",
            "advertise = \"a.example.com\"\n",
            "a.example.com:7000",
        ),
        (
            "\"0.0.0.0:0\"",
            "advertise = \"[2001:db8::1]\"\n",
            "[2001:db8::1]",
        ),
        ("\"0.0.0.0:7000\"", web, "t.example.com:7000"),
        ("\"0.0.0.0:0\"", web, "t.example.com"),
        ("\"192.0.2.1:7000\"", "", "192.0.2.1:7000"),
        ("[\"192.0.2.1:0\", \"0.0.0.0:7000\"]", "", "192.0.2.1"),
        ("\"[2001:db8::1]:7000\"", "", "[2001:db8::1]:7000"),
        ("\"localhost:7000\"", "", "127.0.0.1:7000"),
    ] {
        let plan = plan(&format!("[[serve]]\nlisten = {listen}\n{lines}"));
        assert_eq!(link_of(&plan.listeners[0]).advertise.to_string(), shown);
    }
}

#[test]
fn a_port_that_the_system_chooses_is_advertised_as_chosen() {
    let plan = plan("[[serve]]\nlisten = \"127.0.0.1:0\"\n");
    let advertise = &link_of(&plan.listeners[0]).advertise;
    assert_eq!(advertise.port, None);
    assert_eq!(advertise.target(4711).to_string(), "127.0.0.1:4711");
}

#[test]
fn the_wildcard_address_cannot_be_advertised() {
    for (section, listen) in [
        ("serve", "0.0.0.0:7000"),
        ("exit", "0.0.0.0:7000"),
        ("exit", "[::]:7000"),
    ] {
        one(
            &format!("[[{section}]]\nlisten = [\"{listen}\", \"192.0.2.1:7001\"]\n"),
            &format!("2:11 `{listen}` is every address of this machine: which one do others join?"),
            "add advertise = \"HOST:PORT\", as others reach this machine",
        );
    }
    one(
        &with_serve("advertise = \"0.0.0.0:7000\"\n"),
        "3:13 `advertise`: 0.0.0.0 cannot be joined: write the address or the name that others reach this machine by",
        "",
    );
    one(
        &with_serve("advertise = \"t:0\"\n"),
        "3:13 `advertise`: `t:0` is nothing to join at: write HOST:PORT, such as t.example.com:7000 or 192.0.2.1:7000",
        "",
    );
}

#[test]
fn links_arrive_over_tcp_and_udp_and_not_at_a_unix_socket() {
    for section in ["serve", "exit"] {
        one(
            &format!("[[{section}]]\nlisten = [\"127.0.0.1:7000\", \"unix:/run/x.sock\"]\n"),
            "2:29 `unix:/run/x.sock` is a Unix socket: links arrive over TCP and UDP only",
            "write an address, such as 0.0.0.0:7000",
        );
        let missing = format!("1:1 this [[{section}]] has no `listen`");
        one(
            &format!("[[{section}]]\n"),
            &missing,
            "for example listen = \"127.0.0.1:8080\"",
        );
    }
}

#[test]
fn http_and_domain_of_a_serve_need_each_other() {
    one(
        &with_serve("http = \"127.0.0.1:80\"\n"),
        "3:8 `http` needs `domain`, under which HTTP services get their names",
        "for example, add domain = \"t.example.com\"",
    );
    one(
        &with_serve("domain = \"t.example.com\"\n"),
        "3:10 `domain` needs `http`, where visitors of HTTP services arrive",
        "for example, add http = \"0.0.0.0:80\"",
    );
    one(
        "[[serve]]\nlisten = \":7000\"\nhttp = \"127.0.0.1:80\"\ndomain = \"*.example.com\"\n",
        "4:10 `domain`: `*.example.com` is not a host name: write one such as t.example.com",
        "",
    );
    one(
        &with_serve("http = []\ndomain = \"t\"\n"),
        "3:8 `http` is empty: name at least one address, such as 127.0.0.1:8080",
        "",
    );
}

#[test]
fn a_domain_belongs_to_one_serve() {
    let web = |port: u16| {
        format!(
            "listen = \"127.0.0.1:{port}\"\nhttp = \"127.0.0.1:{}\"\ndomain = \"t.a\"\n",
            port + 1
        )
    };
    one(
        &format!("[[serve]]\n{}[[serve]]\n{}", web(1), web(3)),
        "8:10 the domain `t.a` is that of another [[serve]]: names below it would be ambiguous",
        "",
    );
}

#[test]
fn addresses_and_names_of_links_are_unique_like_all_others() {
    one(
        &with_serve("http = \"127.0.0.1:7000\"\ndomain = \"t.a\"\n"),
        "3:8 `127.0.0.1:7000` is listened on twice",
        "take one of them out or give it another port",
    );
    one(
        &with_serve("name = \"a\"\n[[exit]]\nname = \"a\"\nlisten = \"127.0.0.1:7001\"\n"),
        "5:8 the name `a` is taken by another section",
        "",
    );
}

#[test]
fn an_exit_has_rules_and_limits_and_no_users() {
    let text = "[[exit]]\nlisten = \"192.0.2.1:7443\"\nstream_limit = \"25MiB/s\"\ndefault = \"deny\"\n\
                [[exit.rule]]\naction = \"allow\"\ncidr = \"10.0.0.0/8\"\nport = 443\n\
                [[exit.rule]]\naction = \"via\"\nvia = \"http://h:1\"\nsuffix = \"example.org\"\n";
    let plan = plan(text);
    let link = link_of(&plan.listeners[0]);
    assert_eq!(link.advertise.to_string(), "192.0.2.1:7443");
    let Serves::Exit(egress) = &link.serves else {
        panic!("an exit")
    };
    assert_eq!(
        (egress.settings.stream_limit, egress.settings.default),
        (Some(Rate(25 << 20)), Verdict::Deny)
    );
    assert_eq!(
        (egress.rules.len(), egress.users.len(), &egress.exit),
        (2, 0, &None)
    );
    assert!(egress.spill);
}

#[test]
fn a_rule_of_an_exit_names_no_user_and_is_checked_like_any_other() {
    let rule = |line: &str| {
        format!("[[exit]]\nlisten = \"127.0.0.1:1\"\n[[exit.rule]]\naction = \"deny\"\n{line}\n")
    };
    one(
        &rule("user = \"alice\""),
        "5:1 unknown key `user` in [[exit.rule]]",
        "`user` belongs to [[proxy.rule]]",
    );
    one(
        &rule("host = \"a b\""),
        "5:8 `host`: `a b` is not a host name: write one such as example.com",
        "",
    );
    one(
        &rule("[[exit.rule]]\naction = \"allow\""),
        "5:1 this rule is never reached: the one before it matches everything",
        "give the earlier rule something to match, such as a host or a port",
    );
    one(
        "[[exit]]\nlisten = \"127.0.0.1:1\"\nusers = []\n",
        "3:1 unknown key `users` in [[exit]]",
        "`users` belongs to [[proxy]]",
    );
}

#[test]
fn a_file_that_only_exposes_is_enough() {
    let plan = plan(&with_expose("name = \"App\"\nhttp = \"127.0.0.1:3000\"\n"));
    assert!(plan.listeners.is_empty());
    let [link] = plan.joins.as_slice() else {
        panic!("one link")
    };
    assert_eq!(&*link.id, "t.example.com:7000 grant 070707070707");
    assert_eq!(
        (link.join.expose(), link.carrier, &link.file),
        (join(), CarrierChoice::Auto, &None)
    );
    let to = "127.0.0.1:3000".parse().unwrap();
    assert_eq!(
        link.services,
        [ServicePlan {
            kind: ServiceKind::Http,
            name: "app".into(),
            port: None,
            host: None,
            to
        }]
    );
    assert!(Arc::ptr_eq(plan.join(&link.id).unwrap(), link));
}

#[test]
fn a_tcp_service_is_named_by_its_name_or_by_its_target() {
    let text = [
        with_expose("tcp = \"unix:/run/x.sock\"\n"),
        with_expose("name = \"my ssh\"\ntcp = \"Home:22\"\nport = 20022\n"),
        with_expose("tcp = \"home:23\"\nport = 65535\n"),
    ];
    let plan = plan(&text.concat());
    let shown = |service: &ServicePlan| {
        format!(
            "{:?} {} {:?} {}",
            service.kind, service.name, service.port, service.to
        )
    };
    let services: Vec<_> = plan.joins[0].services.iter().map(shown).collect();
    assert_eq!(
        services,
        [
            "Tcp unix:/run/x.sock None unix:/run/x.sock",
            "Tcp my ssh Some(20022) home:22",
            "Tcp home:23 Some(65535) home:23"
        ]
    );
}

#[test]
fn sections_with_one_join_string_and_carrier_share_a_link() {
    let other = join_at("127.0.0.1:7000", 8);
    let expose = |port: u16, join: &str, carrier: &str| {
        format!(
            "[[expose]]\ntcp = \"127.0.0.1:{port}\"\njoin = \"{join}\"\ncarrier = \"{carrier}\"\n"
        )
    };
    let (auto, quic, tls) = (
        expose(1, &join(), "auto"),
        expose(2, &join(), "quic"),
        expose(3, &join(), "tls"),
    );
    let plan = plan(
        &[
            auto,
            quic,
            tls,
            expose(4, &join(), "auto"),
            expose(1, &other, "auto"),
        ]
        .concat(),
    );
    let links: Vec<_> = plan
        .joins
        .iter()
        .map(|link| (&*link.id, link.carrier, link.services.len()))
        .collect();
    assert_eq!(
        links,
        [
            (
                "t.example.com:7000 grant 070707070707",
                CarrierChoice::Auto,
                2
            ),
            (
                "quic t.example.com:7000 grant 070707070707",
                CarrierChoice::Quic,
                1
            ),
            (
                "tls t.example.com:7000 grant 070707070707",
                CarrierChoice::Tls,
                1
            ),
            ("127.0.0.1:7000 grant 080808080808", CarrierChoice::Auto, 1),
        ]
    );
}

#[test]
fn a_proxy_that_joins_goes_out_through_its_link() {
    let text = with_egress(&format!("join = \"{}\"\ncarrier = \"quic\"\n", join()));
    let both = format!(
        "{text}[[proxy]]\nlisten = \"127.0.0.1:2\"\njoin = \"{}\"\ncarrier = \"quic\"\n",
        join()
    );
    let plan = plan(&both);
    let [link] = plan.joins.as_slice() else {
        panic!("one link for both")
    };
    assert!(link.services.is_empty());
    for listener in &plan.listeners {
        let Role::Egress(egress) = &listener.frontend.role else {
            panic!("a desk")
        };
        assert_eq!(
            egress.exit.as_deref(),
            Some("quic t.example.com:7000 grant 070707070707")
        );
        assert_eq!(egress.exit.as_ref(), Some(&link.id));
        assert!(!egress.spill, "streams through an exit are parked there");
    }
}

#[test]
fn a_public_desk_without_users_is_refused_like_any_open_proxy() {
    let text = format!("[[proxy]]\nlisten = \":1080\"\njoin = \"{}\"\n", join());
    assert_eq!(
        errors(&text),
        ["2:10 `[::]:1080` can be reached from other machines, and any client could use it"]
    );
}

#[test]
fn a_carrier_of_a_proxy_needs_a_link_to_carry() {
    one(
        &with_egress("carrier = \"tls\"\n"),
        "3:11 `carrier` needs `join` or `join_file`: without a link there is nothing to carry",
        "take it out, or add join_file = \"…\"",
    );
    one(
        &with_expose("tcp = \"a:1\"\ncarrier = \"udp\"\n"),
        "4:11 `carrier` must be \"auto\" or \"quic\" or \"tls\", found \"udp\"",
        "",
    );
}

#[test]
fn an_expose_exposes_one_thing_through_one_link() {
    let join = join();
    one(
        &format!("[[expose]]\njoin = \"{join}\"\n"),
        "1:1 this [[expose]] has neither `http` nor `tcp`",
        "for example http = \"127.0.0.1:3000\" or tcp = \"127.0.0.1:22\"",
    );
    one(
        &with_expose("tcp = \"a:1\"\nhttp = \"a:1\"\n"),
        "3:7 this [[expose]] has both `http` and `tcp`: it exposes one service",
        "take one of them out, or write another [[expose]] for it",
    );
    one(
        "[[expose]]\ntcp = \"a:1\"\n",
        "1:1 this [[expose]] has neither `join` nor `join_file`",
        "add join_file = \"…\", or join = \"…\", with the line that `byway serve` prints",
    );
    one(
        &with_expose("tcp = \"a:1\"\njoin_file = \"x\"\n"),
        "4:13 this [[expose]] has both `join` and `join_file`",
        "take one of them out",
    );
    one(
        &with_expose("name = \"a\"\nhttp = \"a:1\"\nport = 1\n"),
        "5:8 `port` goes with `tcp`: HTTP services share the port of the public end, and have a name",
        "take it out",
    );
}

#[test]
fn an_http_service_needs_a_label_for_a_name() {
    one(
        &with_expose("http = \"a:1\"\n"),
        "1:1 this [[expose]] has no `name`, the label in front of the domain",
        "for example name = \"app\"",
    );
    let long = "a".repeat(64);
    for name in ["", "-a", "a-", "a.b", "a_b", "\u{e4}", &long] {
        let error = format!(
            "3:8 `name`: `{name}` is not a label of a domain name: write 1 to 63 of a-z, 0-9 and -, not at its ends"
        );
        one(
            &with_expose(&format!("name = \"{name}\"\nhttp = \"a:1\"\n")),
            &error,
            "",
        );
    }
    for name in ["a", "0", "A-1", &long[1..]] {
        plan(&with_expose(&format!(
            "name = \"{name}\"\nhttp = \"a:1\"\n"
        )));
    }
}

#[test]
fn the_host_of_a_service_is_kept_or_its_targets_own_or_a_name() {
    let around = Surroundings::without_files(Path::new("/state"));
    let host = |text: &str| {
        let plan = parse_with(&with_expose(text), "byway.toml", &around).unwrap();
        plan.joins[0].services[0].host.clone()
    };
    for (target, written, host_field) in [
        ("127.0.0.1:3000", None, None),
        ("127.0.0.1:3000", Some("keep"), None),
        ("127.0.0.1:3000", Some("upstream"), Some("127.0.0.1:3000")),
        ("app.internal:80", Some("upstream"), Some("app.internal")),
        ("unix:/run/app.sock", Some("upstream"), Some("localhost")),
        ("127.0.0.1:3000", Some("example.test"), Some("example.test")),
        (
            "127.0.0.1:3000",
            Some("example.test:8443"),
            Some("example.test:8443"),
        ),
        ("127.0.0.1:3000", Some("[::1]"), Some("[::1]")),
    ] {
        let line = written
            .map(|host| format!("host = \"{host}\"\n"))
            .unwrap_or_default();
        assert_eq!(
            host(&format!("name = \"a\"\nhttp = \"{target}\"\n{line}")).as_deref(),
            host_field,
            "{written:?}"
        );
    }
    one(
        &with_expose("name = \"a\"\nhttp = \"127.0.0.1:1\"\nhost = \"upsteam\"\n"),
        "5:8 `host`: `upsteam` is unknown: did you mean \"upstream\"? Otherwise write \"keep\", \"upstream\", or a name such as app.test",
        "",
    );
    one(
        &with_expose("name = \"a\"\nhttp = \"127.0.0.1:1\"\nhost = \"a b\"\n"),
        "5:8 `host`: `a b` is not valid in a Host field: write \"keep\", \"upstream\", or a name such as app.test",
        "",
    );
    one(
        &with_expose("tcp = \"127.0.0.1:1\"\nhost = \"upstream\"\n"),
        "4:8 `host` goes with `http`: the bytes of a TCP service are not inspected",
        "take it out",
    );
}

#[test]
fn the_target_of_a_service_is_an_address_and_not_a_url() {
    one(
        &with_expose("name = \"a\"\nhttp = \"ftp://127.0.0.1:3000/\"\n"),
        "4:8 `http`: the target of a service is an address, so it takes no `ftp://`",
        "write \"127.0.0.1:3000\", with its port",
    );
    one(
        &with_expose("tcp = \"22\"\n"),
        "3:7 `tcp`: `22` is a port alone: write 127.0.0.1:22",
        "",
    );
    one(
        &with_expose("tcp = \"a\"\n"),
        "3:7 `tcp`: `a` has no port: write HOST:PORT, [IPV6]:PORT or unix:/PATH",
        "",
    );
    one(
        &with_expose("tcp = \"unix:x\"\n"),
        "3:7 `tcp`: `unix:x` is not absolute: write the whole path, such as unix:/run/app.sock",
        "",
    );
    one(
        &with_expose("tcp = \"a:1\"\nport = 0\n"),
        "4:8 `port` must be at least 1, but is 0",
        "",
    );
    one(
        &with_expose("tcp = \"a:1\"\nport = 65536\n"),
        "4:8 `port` must be at most 65535, but is 65536",
        "",
    );
}

#[test]
fn nothing_is_exposed_twice_through_one_join_string() {
    let again = |lines: &str| {
        format!(
            "{}{}carrier = \"tls\"\n",
            with_expose(lines),
            with_expose(lines)
        )
    };
    one(
        &again("name = \"a\"\nhttp = \"a:1\"\n"),
        "7:8 the HTTP service `a` is exposed twice through one join string",
        "give it another name",
    );
    one(
        &again("tcp = \"a:1\"\nport = 5\n"),
        "8:8 the port 5 is requested twice through one join string",
        "give it another port",
    );
    one(
        &again("tcp = \"a:1\"\n"),
        "6:7 the TCP service `a:1` is exposed twice through one join string",
        "give it another name, or a port",
    );
    one(
        &again("name = \"ssh\"\ntcp = \"a:1\"\n"),
        "7:8 the TCP service `ssh` is exposed twice through one join string",
        "give it another name, or a port",
    );
    let elsewhere = format!(
        "[[expose]]\ntcp = \"a:1\"\njoin = \"{}\"\n",
        join_at("t.example.com:7000", 8)
    );
    let with_port = with_expose("tcp = \"a:1\"\nport = 5\n");
    assert_eq!(
        plan(&[with_expose("tcp = \"a:1\"\n"), with_port, elsewhere].concat())
            .joins
            .len(),
        2
    );
}

#[test]
fn the_error_of_a_bad_join_string_names_the_cause_and_never_shows_the_string() {
    let whole = join();
    let (cut, pasted) = (&whole[..60], &whole[..]);
    for (line, error) in [
        (
            format!("join = \"{cut}\""),
            "the join string was cut short or changed on its way",
        ),
        (
            format!("join = \"{}\"", cut.replace("by1.", "by2.")),
            "of a newer format",
        ),
        (
            format!("join = \"{}\"", &cut[4..]),
            "this is not a join string: it must begin with `by1.`",
        ),
        ("join = \"\"".to_owned(), "the join string is empty"),
        (
            "join = \"***\"".to_owned(),
            "`join`: `***` is a hidden join string",
        ),
        (
            format!("join_file = \"{pasted}\""),
            "`join_file` holds a join string, not the name of a file",
        ),
        (
            format!("jion = \"{pasted}\""),
            "unknown key `jion` in [[expose]]",
        ),
        (
            format!("join = [\"{pasted}\"]"),
            "`expose.join` must be a string, found a list",
        ),
        (
            format!("join = \"{pasted}\"\nname = \"{pasted}\""),
            "`name` has 111 characters: the most is 64",
        ),
        (
            format!("join = \"{pasted}\"\nport = \"{pasted}\""),
            "`expose.port` must be a whole number, found a string",
        ),
    ] {
        let text = format!("[[expose]]\ntcp = \"a:1\"\n{line}\n");
        let errors = parse(&text, "byway.toml", Path::new("/state")).unwrap_err();
        assert_eq!(errors.diagnostics().len(), 1, "{errors}");
        for shown in [
            errors.to_string(),
            format!("{errors:?}"),
            errors.render(true),
        ] {
            assert!(!shown.contains(&whole[10..30]), "{shown}");
        }
        assert!(errors.diagnostics()[0].message.contains(error), "{errors}");
    }
    let text = with_serve(&format!("advertise = \"{pasted}\"\n"));
    let shown = parse(&text, "byway.toml", Path::new("/state"))
        .unwrap_err()
        .to_string();
    assert!(
        shown.contains("is nothing to join at") && !shown.contains(&whole[10..30]),
        "{shown}"
    );
    let plan = plan(&with_expose("tcp = \"a:1\"\n"));
    assert!(!format!("{plan:?} {}", Effective(&plan)).contains(&whole[10..30]));
}

#[test]
fn a_join_file_gives_its_first_line_that_is_not_empty_and_has_to_exist() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("byway.toml"), folder.path().join("join"));
    fs::write(&path, "[[expose]]\ntcp = \"a:1\"\njoin_file = \"join\"\n").unwrap();
    let message = || {
        load(&path, folder.path()).unwrap_err().diagnostics()[0]
            .message
            .clone()
    };
    assert!(
        message().starts_with("`join_file`: cannot read /"),
        "{}",
        message()
    );
    fs::write(&file, "\n \n").unwrap();
    assert!(
        message().starts_with("`join_file`: the join string is empty"),
        "{}",
        message()
    );
    fs::write(&file, format!("\n  {}\r\nmore\n", join())).unwrap();
    let plan = load(&path, folder.path()).unwrap();
    assert_eq!(
        (plan.joins[0].join.expose(), plan.joins[0].file.as_deref()),
        (join(), Some(&*file))
    );
}

#[test]
fn two_different_join_strings_of_one_grant_are_refused() {
    let mut newer: JoinString = join().parse().unwrap();
    newer.secret = GrantSecret::from_bytes([1; 24]);
    let text = format!(
        "{}[[expose]]\ntcp = \"b:1\"\njoin = \"{}\"\n",
        with_expose("tcp = \"a:1\"\n"),
        newer.expose()
    );
    one(
        &text,
        "6:8 this join string and an earlier one are of the same grant, and differ",
        "one of them is old: copy the one that the other node prints now to both places",
    );
}

#[test]
fn one_join_string_is_for_a_desk_or_for_services() {
    let desk = format!(
        "[[proxy]]\nlisten = \"127.0.0.1:1\"\njoin = \"{}\"\ncarrier = \"tls\"\n",
        join()
    );
    one(
        &format!("{}{desk}", with_expose("tcp = \"a:1\"\n")),
        "2:8 one join string is used by a [[proxy]] and by an [[expose]]",
        "a [[proxy]] takes what `byway proxy serve` prints, an [[expose]] what `byway serve` prints",
    );
}

#[test]
fn each_file_that_is_not_read_is_a_join_string_of_its_own() {
    let expose = |file: &str| format!("[[expose]]\ntcp = \"a:1\"\njoin_file = \"{file}\"\n");
    let plan = plan(&format!("{}{}", expose("a"), expose("b")));
    assert_eq!(plan.joins.len(), 2);
    assert_eq!(plan.joins[0].join.address.to_string(), "not-read.invalid:1");
    assert_eq!(errors(&expose("a").repeat(2)).len(), 1);
}

#[test]
fn a_join_file_or_a_password_file_that_is_a_pipe_is_read_once() {
    let read = std::cell::RefCell::new(Vec::new());
    let pipe = |path: &Path| {
        // The second reader of a pipe finds nothing.
        let is_first = !read.borrow().contains(&path.to_owned());
        read.borrow_mut().push(path.to_owned());
        let text = if path.ends_with("password") {
            "hunter2".to_owned()
        } else {
            join()
        };
        Ok(if is_first { text } else { String::new() })
    };
    let around = Surroundings {
        read_file: &pipe,
        ..Surroundings::without_files(Path::new("/state"))
    };
    let expose =
        |port: u16| format!("[[expose]]\njoin_file = \"/pipe\"\ntcp = \"127.0.0.1:{port}\"\n");
    let user = |name: &str| format!("{{ name = \"{name}\", password_file = \"/password\" }}");
    let proxy = format!(
        "[[proxy]]\nlisten = \"127.0.0.1:1\"\nusers = [{}, {}]\n",
        user("a"),
        user("b")
    );
    let plan = parse_with(
        &[expose(1), expose(2), proxy].concat(),
        "byway.toml",
        &around,
    )
    .unwrap();
    assert_eq!(plan.joins[0].join.expose(), join());
    assert_eq!(plan.joins[0].services.len(), 2);
    let Role::Egress(egress) = &plan.listeners[0].frontend.role else {
        panic!("a proxy")
    };
    assert!(
        egress
            .users
            .iter()
            .all(|user| user.password.expose() == "hunter2")
    );
    assert_eq!(read.borrow().len(), 2, "{:?}", read.borrow());
}
