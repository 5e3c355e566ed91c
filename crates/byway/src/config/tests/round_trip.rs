//! Round trip: the effective Plan, read again, is the same Plan.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::*;
use super::*;

/// Reads back what `Effective` prints. Passwords in the texts here are `***` already, so that
/// nothing is lost.
fn assert_reads_back(text: &str) {
    let mut first = plan(text);
    let shown = Effective(&first).to_string();
    let around = Surroundings::without_files(Path::new("/state"));
    let second = parse_with(&shown, "effective", &around)
        .unwrap_or_else(|errors| panic!("{errors}\n{shown}"));
    // The shown values are lowered already, so none is lowered again.
    first.descriptors.lowered.clear();
    first.descriptors.asked_limits = second.descriptors.asked_limits.clone();
    first.descriptors.asked_pool = second.descriptors.asked_pool.clone();
    assert_eq!(first, second, "{shown}");
    assert_eq!(Effective(&second).to_string(), shown);
}

#[test]
fn the_effective_plan_shows_defaults_and_hides_passwords() {
    let text = "users = [{ name = \"a\", password = \"hunter2\" }]\n[[proxy.rule]]\naction = \"via\"\nvia = \"http://u:hunter3@h:1\"\n";
    let shown = Effective(&plan(&with_egress(text))).to_string();
    assert!(shown.contains("keep_alive = \"1m\""), "{shown}");
    assert!(
        shown.contains("  { name = \"a\", password = \"***\" },"),
        "{shown}"
    );
    assert!(shown.contains("via = \"http://u:***@h:1\""), "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn names_and_patterns_with_quotes_and_backslashes_read_back() {
    assert_reads_back(&with_route(
        "name = 'a \"b\" \\c'\npath = '^/\\d+\"'\nto = \"a:1\"\n",
    ));
    assert_reads_back(&with_route("path = \"\\u007f\\n\"\nto = \"a:1\"\n"));
}

#[test]
fn a_section_named_like_its_first_address_reads_back() {
    assert_reads_back(
        "[[tcp]]\nname = \"127.0.0.1:1\"\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nto = \"a:1\"\n",
    );
}

/// `key = value`, or nothing.
fn line(key: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::option::of(select(values))
        .prop_map(move |value| value.map_or(String::new(), |value| format!("{key} = {value}\n")))
}

fn settings() -> impl Strategy<Value = String> {
    let times = &["\"1ms\"", "\"90s\"", "\"1h\"", "\"365d\""];
    let top = (
        line("workers", &["1", "0x10", "1_0"]),
        line("drain.deadline", &["\"0s\"", "\"5m\""]),
    );
    let dial = (
        line("dial.family", &["\"4\"", "\"any\""]),
        line("dial.local_address", &["\"192.0.2.7\""]),
        line("dial.resolver", &["\"dns\"", "\"system\""]),
    );
    let limits = (
        line("limits.connections", &["1", "100", "999999"]),
        line("limits.connections_per_peer", &["1", "5000"]),
        line("limits.head_bytes", &["1024", "\"100KB\"", "\"12345B\""]),
        line("limits.max_body", &["\"none\"", "\"10GiB\"", "7"]),
        line("limits.keep_alive", times),
        line("limits.min_rate", &["\"none\"", "\"1kbit/s\"", "\"3B/s\""]),
        line("limits.streams_per_connection", &["1", "77"]),
        line("limits.requests_per_connection", &["1", "77"]),
        line("limits.idle", &["\"none\"", "\"1h\""]),
    );
    let retry = (
        line("retry.attempts", &["0", "10"]),
        line("retry.on", &["503", "[\"502\", 504]", "[]"]),
        line("retry.replay", &["0", "\"256KiB\""]),
        line("retry.budget_percent", &["0", "100"]),
        line("retry.budget_per_second", &["1", "1000000"]),
    );
    let pool = (
        line("pool.max_total", &["1", "64"]),
        line("pool.max_upgraded_per_origin", &["1", "64"]),
        line("pool.queue_wait", times),
    );
    let spill = (
        line("spill.directory", &["\"/a b/c\"", "\"x\\\"y\""]),
        line("spill.memory", &["4096", "\"1MiB\""]),
        line("spill.per_node", &["\"1TB\"", "1"]),
        line("spill.mode", &["\"off\"", "\"auto\""]),
    );
    let observed = (
        line(
            "log.access",
            &["\"off\"", "\"stdout\"", "\"/a b/\\\"c\\\".log\""],
        ),
        line("log.access_format", &["\"json\"", "\"combined\""]),
        line(
            "metrics.listen",
            &[
                "\"127.0.0.1:9100\"",
                "[\"[::1]:0\", \"[::1]:0\"]",
                "\"unix:/m\"",
            ],
        ),
    );
    (top, dial, limits, pool, retry, spill, observed).prop_map(|(t, d, l, p, r, s, o)| {
        let limits = [l.0, l.1, l.2, l.3, l.4, l.5, l.6, l.7].concat();
        let observed = [o.0, o.1, o.2].concat();
        [
            t.0, t.1, d.0, d.1, d.2, limits, p.0, p.1, p.2, r.0, r.1, r.2, r.3, r.4, s.0, s.1, s.2,
            s.3, observed,
        ]
        .concat()
    })
}

fn edge() -> impl Strategy<Value = String> {
    let routes = [
        "hosts = [\"a.example.com\", \"*.example.com\"]\nto = \"127.0.0.1:9001\"\n",
        "path = '^/api/\\w+'\nto = [\"https://name\", \"https://192.0.2.1:8443\", \"name:80\"]\nhost = \"upstream\"\n",
        "name = \"rest\"\nto = \"unix:/run/app.sock\"\nmax_body = \"1MiB\"\n",
        "hosts = \"[2001:db8::1]\"\npath = \"x\"\nto = \"http://[::1]:443\"\nmax_body = \"none\"\n",
    ];
    let listen = select(&[
        "\":8080\"",
        "[\"127.0.0.1:0\", \"127.0.0.1:0\"]",
        "[\"[::1]:80\", \"unix:/run/x.sock\"]",
    ]);
    let head = (
        line("name", &["\"site\""]),
        line("trusted_proxies", &["\"10.0.0.0/8\"", "[\"::1\"]"]),
        line("reject_empty_segments", &["true", "false"]),
        line("max_body", &["9"]),
    );
    (listen, head, subsequence(routes.to_vec(), 1..=4)).prop_map(
        |(listen, (name, trusted, reject, max), routes)| {
            let routes: String = routes
                .iter()
                .map(|route| format!("[[edge.route]]\n{route}"))
                .collect();
            format!("[[edge]]\nlisten = {listen}\n{name}{trusted}{reject}{max}{routes}")
        },
    )
}

fn egress() -> impl Strategy<Value = String> {
    let rules = [
        "action = \"deny\"\ncidr = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n",
        "action = \"via\"\nvia = \"socks5://a%40b:***@h:1080\"\nsuffix = \"example.com\"\nport = [443, \"8000-8999\"]\n",
        "action = \"allow\"\nhost = [\"a\", \"b.c\"]\n",
        "action = \"deny\"\n",
    ];
    let open = select(&[
        "listen = \":1080\"\nopen_to_the_world = true\n",
        "listen = \":1080\"\nusers = [{ name = \"alice\", password = \"***\" }, { name = \"b\\\"\", password = \"***\" }]\n",
        "listen = \"unix:/run/exit.sock\"\n",
    ]);
    let tail = (
        line("stream_limit", &["\"25MiB/s\"", "\"1kbit/s\""]),
        line("default", &["\"deny\""]),
    );
    (open, tail, subsequence(rules.to_vec(), 0..=4)).prop_map(|(head, (limit, default), rules)| {
        let rules: String = rules
            .iter()
            .map(|rule| format!("[[proxy.rule]]\n{rule}"))
            .collect();
        format!("[[proxy]]\n{head}{limit}{default}{rules}")
    })
}

fn links() -> impl Strategy<Value = String> {
    let settings = (
        line("link.congestion", &["\"bbr\"", "\"cubic\""]),
        line("link.quic_probe", &["\"1s\"", "\"90s\""]),
        line("link.park", &["\"0s\"", "\"5m\""]),
        line("link.parked", &["1", "65536"]),
        line("link.streams", &["1"]),
    );
    settings.prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat())
}

/// Sections of links, in the order of a Plan. Their join strings are in files, so that nothing is
/// lost.
fn link_sections() -> impl Strategy<Value = String> {
    subsequence(
        vec![
            "[[proxy]]\nlisten = \"127.0.0.1:1\"\njoin_file = \"/a b/exit\"\n[[proxy.rule]]\naction = \"deny\"\n",
            "[[proxy]]\nname = \"desk\"\nlisten = \"unix:/x\"\njoin_file = \"/a b/exit\"\ncarrier = \"tls\"\n",
            "[[serve]]\nlisten = \"127.0.0.1:2\"\n",
            "[[serve]]\nname = \"s\"\nlisten = [\":3\", \"127.0.0.1:0\"]\nhttp = [\"unix:/y\", \":80\"]\ndomain = \"t.example\"\n",
            "[[serve]]\nlisten = \"0.0.0.0:0\"\nhttp = \"127.0.0.1:4\"\ndomain = \"u.example\"\nadvertise = \"[::1]\"\n",
            "[[exit]]\nlisten = \"127.0.0.1:5\"\nadvertise = \"e.example:9\"\nstream_limit = \"1MB/s\"\ndefault = \"deny\"\n\
             [[exit.rule]]\naction = \"allow\"\ncidr = \"10.0.0.0/8\"\nport = [1, \"2-3\"]\n",
            "[[expose]]\nname = \"app\"\nhttp = \"unix:/run/app.sock\"\njoin_file = \"/a b/join\"\n",
            "[[expose]]\ntcp = \"127.0.0.1:22\"\nport = 20022\njoin_file = \"/c/join\"\ncarrier = \"quic\"\n",
            "[[expose]]\nname = \"a \\\"b\\\"\"\ntcp = \"Name:22\"\njoin_file = \"/a b/join\"\n",
            "[[expose]]\ntcp = \"Name:22\"\njoin_file = \"/a b/join\"\ncarrier = \"tls\"\n",
        ],
        1..=10,
    )
    .prop_map(|sections| sections.concat())
}

#[test]
fn a_join_string_in_the_file_is_hidden_and_has_to_be_put_back() {
    let join = links::join_at("t.example.com:7000", 7);
    let shown = Effective(&plan(&format!(
        "[[expose]]\ntcp = \"a:1\"\njoin = \"{join}\"\n"
    )))
    .to_string();
    assert!(
        shown.contains("join = \"***\"  # t.example.com:7000, grant 070707070707\n"),
        "{shown}"
    );
    assert!(!shown.contains(&join[4..20]), "{shown}");
    let [error] = errors(&shown).try_into().unwrap();
    assert!(
        error.contains("`join`: `***` is a hidden join string: write the string itself"),
        "{error}"
    );
    let put_back = shown.replace("***\"  #", &format!("{join}\"  #"));
    assert_eq!(Effective(&plan(&put_back)).to_string(), shown);
}

#[test]
fn the_effective_plan_shows_what_a_link_is_for() {
    let text = "[[serve]]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:7000\"]\nhttp = \"127.0.0.1:80\"\ndomain = \"t.example\"\n";
    let shown = Effective(&plan(text)).to_string();
    let expected = "\
[[serve]]
listen = [\"127.0.0.1:0\", \"127.0.0.1:7000\"]
advertise = \"t.example\"  # in join strings, with the port of the listener
domain = \"t.example\"  # below it, HTTP services have their names
http = [\"127.0.0.1:80\"]
";
    assert!(shown.ends_with(expected), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(byway_testkit::cases(64)))]

    #[test]
    fn the_effective_plan_reads_back_as_the_same_plan(
        settings in settings(),
        edge in prop::option::of(edge()),
        egress in prop::option::of(egress()),
    ) {
        let tcp = "[[tcp]]\nlisten = \"127.0.0.1:2222\"\nto = \"Name.example.com:22\"\n";
        let text = [settings, tcp.to_owned(), edge.unwrap_or_default(), egress.unwrap_or_default()].concat();
        assert_reads_back(&text);
    }

    #[test]
    fn the_effective_plan_of_links_reads_back_as_the_same_plan(settings in links(), sections in link_sections()) {
        assert_reads_back(&[settings, sections].concat());
    }

    #[test]
    fn damaged_files_are_refused_with_errors(at in 0usize..400, with in "[ -~\u{e4}\n]{0,3}", removed in 0usize..9) {
        let text = format!("{}{}", with_route("to = [\"a:1\", 'b:2']\n"), with_egress("users = [{ name = \"a\", password = \"b\" }]\n"));
        let start = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let end = (start + removed).min(text.len());
        let damaged = format!("{}{with}{}", &text[..start], &text[end..]);
        if let Err(errors) = parse_with(&damaged, "byway.toml", &Surroundings::without_files(Path::new("/state"))) {
            prop_assert!(!errors.diagnostics().is_empty());
            prop_assert!(errors.to_string().starts_with("error: "));
        }
    }
}

#[test]
fn sections_of_tls_read_back() {
    let tls = "tls.min_version = \"1.3\"\n[[tls.client]]\nhosts = [\"a.example\", \"*.in.example\"]\n\
               ca = \"/ca.pem\"\nmode = \"optional\"\n[[certificate]]\ncert = \"/a.pem\"\nocsp = \"/a.ocsp\"\n\
               [[certificate]]\ncert = \"/b.pem\"\nkey = \"/b.key\"\nnames = \"b.example\"\ndefault = true\n";
    let upstream = "[[edge.route]]\nto = [\"https://b:1\", \"c:1\"]\n[edge.route.tls]\nca = \"/up.pem\"\n\
                    server_name = \"x\"\ncert = \"/c.pem\"\npin = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";
    for edge in [
        "https = \"127.0.0.1:1\"\nhsts = \"30d\"",
        "listen = [\"127.0.0.1:80\", \"127.0.0.1:81\"]\nhttps = [\"127.0.0.1:1\", \"127.0.0.1:2\"]",
        "listen = \"127.0.0.1:80\"\nhttps = \"127.0.0.1:1\"\nredirect_to_https = false",
        "listen = \"127.0.0.1:81\"\nhttps = \"127.0.0.1:1\"\nredirect_to_https = true",
    ] {
        assert_reads_back(&format!("{tls}[[edge]]\n{edge}\n{upstream}"));
    }
    assert_reads_back(&format!(
        "{tls}[[proxy]]\nhttps = \"127.0.0.1:1\"\n[[serve]]\nlisten = \"127.0.0.1:2\"\ndomain = \"t.example\"\n\
         http = \"127.0.0.1:80\"\nhttps = \"127.0.0.1:3\"\n"
    ));
}

#[test]
fn plain_addresses_with_port_80_redirect_to_https_unless_the_config_says_otherwise() {
    let transports = |edge: &str| {
        let text = format!(
            "[[certificate]]\ncert = \"/a.pem\"\n[[edge]]\nlisten = [\"127.0.0.1:80\", \"127.0.0.1:81\"]\n{edge}\n\
             [[edge.route]]\nto = \"a:1\"\n"
        );
        let all = plan(&text);
        let all = all
            .listeners
            .iter()
            .map(|listener| listener.frontend.transport.clone());
        all.collect::<Vec<_>>()
    };
    let to = || Transport::Redirect("127.0.0.1:1".parse().unwrap());
    let https = "https = \"127.0.0.1:1\"";
    let no = || Transport::Plain;
    assert_eq!(transports(""), [no(), no()]);
    assert_eq!(transports(https), [to(), no(), Transport::Tls]);
    let all = format!("{https}\nredirect_to_https = true");
    assert_eq!(transports(&all), [to(), to(), Transport::Tls]);
    let none = format!("{https}\nredirect_to_https = false");
    assert_eq!(transports(&none), [no(), no(), Transport::Tls]);
}
