//! Plans: defaults, merging, sharing, and the shipped example.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::*;

#[test]
fn missing_keys_have_their_defaults() {
    let plan = plan(&with_listener(""));
    assert_eq!(plan.generation, 1);
    assert_eq!(plan.workers, NonZeroUsize::MIN);
    assert_eq!(plan.state, PathBuf::from("/state"));
    assert_eq!(plan.drain.deadline, Duration::from_secs(30));
    let dial = DialPlan {
        family: Family::Any,
        local_address: None,
        connect_timeout: Duration::from_secs(10),
        resolver: ResolverKind::Dns,
        attempt_delay: Duration::from_millis(250),
    };
    assert_eq!(plan.dial, dial);
    let limits = LimitsPlan {
        connections: 10_000,
        connections_per_peer: 1024,
        handshake_timeout: Duration::from_secs(10),
        head_bytes: 65_536,
        head_fields: 128,
        head_timeout: Duration::from_secs(30),
        keep_alive: Duration::from_secs(60),
        body_progress: Duration::from_secs(60),
        min_rate: Some(Rate(250)),
        first_byte: Duration::from_secs(60),
        max_body: None,
        half_closed_idle: Duration::from_secs(600),
        idle: None,
        streams_per_connection: 128,
        requests_per_connection: 10_000,
    };
    assert_eq!(plan.limits, limits);
    assert_eq!(plan.listeners[0].frontend.limits, limits);
    let pool = PoolPlan {
        max_total: 10_000,
        max_per_origin: 10_000,
        max_upgraded_per_origin: 10_000,
        idle_timeout: Duration::from_secs(4),
        queue: 1024,
        queue_wait: Duration::from_secs(5),
    };
    assert_eq!(plan.pool, pool);
    let retry = RetryPlan {
        attempts: 1,
        on: Statuses::default(),
        replay: 65_536,
        budget_percent: 20,
        budget_per_second: 10,
    };
    assert_eq!(plan.retry, retry);
    let spill = SpillPlan {
        directory: PathBuf::from("/state/spill"),
        memory: 256 << 10,
        per_stream: 1 << 30,
        per_node: None,
        mode: SpillMode::Auto,
    };
    assert_eq!(plan.spill, spill);
}

#[test]
fn workers_default_to_the_cores_of_the_machine() {
    let plan = parse(&with_listener(""), "byway.toml", Path::new("/state")).unwrap();
    assert_eq!(
        Ok(plan.workers),
        std::thread::available_parallelism().map_err(drop)
    );
}

#[test]
fn a_part_is_never_larger_than_the_whole() {
    let plan = plan(&with_listener(
        "limits.connections = 10\npool.max_total = 20",
    ));
    assert_eq!(plan.limits.connections_per_peer, 10);
    assert_eq!(plan.pool.max_per_origin, 20);
}

#[test]
fn by_default_no_single_client_can_fill_an_upstream() {
    for limits in [
        "",
        "limits.connections = 300",
        "limits.connections_per_peer = 7000",
        "pool.max_per_origin = 20000",
    ] {
        let plan = plan(&with_listener(limits));
        assert!(
            plan.pool.max_per_origin
                > plan
                    .limits
                    .connections_per_peer
                    .min(plan.limits.connections - 1),
            "{limits}"
        );
        assert!(
            plan.pool.max_upgraded_per_origin >= plan.limits.connections_per_peer,
            "{limits}"
        );
        assert!(plan.pool.max_total >= plan.pool.max_per_origin, "{limits}");
    }
    let explicit = plan(&with_listener(
        "pool.max_per_origin = 128\npool.max_upgraded_per_origin = 3",
    ));
    assert_eq!(
        (
            explicit.pool.max_per_origin,
            explicit.pool.max_upgraded_per_origin
        ),
        (128, 3)
    );
}

/// The Plan on a machine with `most` descriptors.
fn plan_with_descriptors(text: &str, most: u64) -> Plan {
    let around = Surroundings {
        descriptors: Some(most),
        ..Surroundings::without_files(Path::new("/state"))
    };
    parse_with(&with_listener(text), "byway.toml", &around).unwrap()
}

#[test]
fn connections_that_do_not_fit_into_the_descriptors_are_lowered_and_reported() {
    let plan = plan_with_descriptors("limits.connections = 9000", 1024);
    assert!(
        plan.limits.connections < 512 && plan.limits.connections >= 200,
        "{}",
        plan.limits.connections
    );
    assert!(
        plan.pool.max_total >= plan.limits.connections
            && plan.pool.max_per_origin == plan.pool.max_total
    );
    assert!(plan.limits.connections_per_peer <= plan.limits.connections / 2);
    let lines: Vec<String> = plan
        .descriptors
        .lowered
        .iter()
        .map(Lowered::to_string)
        .collect();
    let [connections, total] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert!(
        connections.starts_with("limits.connections is lowered from 9000 to "),
        "{connections}"
    );
    assert!(
        total.starts_with("pool.max_total is lowered from 9000 to "),
        "{total}"
    );
    let written: Vec<bool> = plan
        .descriptors
        .lowered
        .iter()
        .map(|lowered| lowered.written)
        .collect();
    assert_eq!(written, [true, false]);
    let roomy = plan_with_descriptors("", 1 << 20);
    assert_eq!(
        (roomy.limits.connections, roomy.descriptors.lowered.len()),
        (10_000, 0)
    );
}

#[test]
fn a_written_part_that_is_lowered_is_reported_as_the_whole_is() {
    let lowered = |text: &str, most: u64| -> Vec<(&str, bool, String)> {
        let plan = plan_with_descriptors(text, most);
        let lowered = plan.descriptors.lowered.iter();
        lowered
            .map(|lowered| (lowered.key, lowered.written, lowered.to_string()))
            .collect()
    };
    let text = "limits.connections_per_peer = 5000\npool.max_per_origin = 6000";
    let lines = lowered(text, 1024);
    for key in ["limits.connections_per_peer", "pool.max_per_origin"] {
        assert!(
            lines
                .iter()
                .any(|line| line.0 == key && line.1 && line.2.contains("1024 files")),
            "{lines:?}"
        );
    }
    let whole = "limits.connections = 10\npool.max_total = 20\n";
    let lines = lowered(&format!("{whole}{text}"), 1 << 20);
    let texts: Vec<&str> = lines.iter().map(|line| &*line.2).collect();
    let [per_peer, per_origin] = texts.as_slice() else {
        panic!("{texts:?}")
    };
    assert!(
        per_peer.contains("connections_per_peer is lowered from 5000 to 10: limits.connections"),
        "{per_peer}"
    );
    assert!(
        per_origin.contains("max_per_origin is lowered from 6000 to 20: pool.max_total"),
        "{per_origin}"
    );
    assert_eq!(
        lowered(whole, 1 << 20),
        [],
        "a default that follows the whole is not reported"
    );
}

#[test]
fn a_server_with_few_descriptors_reports_how_many_public_ports_a_grant_has() {
    let around = Surroundings {
        descriptors: Some(1024),
        ..Surroundings::without_files(Path::new("/state"))
    };
    let serve = "[[serve]]\nlisten = \"127.0.0.1:0\"\nadvertise = \"127.0.0.1\"\n";
    let plan = parse_with(&format!("workers = 2\n{serve}"), "byway.toml", &around).unwrap();
    let ports = plan
        .descriptors
        .lowered
        .iter()
        .find(|lowered| lowered.key.contains("public ports"))
        .unwrap();
    assert!(
        ports.from == 256 && (8..64).contains(&ports.to) && !ports.written,
        "{ports}"
    );
}

#[test]
fn a_public_end_alone_is_not_lowered_to_a_third_of_the_visitors_that_fit() {
    let serve =
        "[[serve]]\nlisten = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ndomain = \"t.localhost\"\n";
    let around = Surroundings {
        descriptors: Some(20_000),
        ..Surroundings::without_files(Path::new("/state"))
    };
    let alone = parse_with(&format!("workers = 2\n{serve}"), "byway.toml", &around).unwrap();
    assert!(
        alone.limits.connections >= 6000,
        "{}",
        alone.limits.connections
    );
    assert!(
        alone.pool.max_total >= alone.limits.connections,
        "{}",
        alone.pool.max_total
    );
    // Each visitor of an edge may have a connection of its own to an upstream.
    let both = plan_with_descriptors(&format!("workers = 2\n{serve}"), 20_000);
    assert!(
        2 * both.limits.connections <= both.descriptors.shares.visitors,
        "{}",
        both.limits.connections
    );
}

#[test]
fn sections_with_the_same_join_string_are_counted_as_one_link() {
    let share = |sections: usize, ids: usize| {
        let around = Surroundings {
            descriptors: Some(1024),
            ..Surroundings::without_files(Path::new("/state"))
        };
        let expose = |number: usize| {
            let id = u8::try_from(number % ids).unwrap();
            let join = links::join_at("t.example.com:7000", id);
            format!(
                "[[expose]]\ntcp = \"127.0.0.1:{}\"\njoin = \"{join}\"\n",
                1000 + number
            )
        };
        let text: String = (0..sections).map(expose).collect();
        parse_with(&text, "byway.toml", &around)
            .unwrap()
            .descriptors
            .shares
    };
    assert_eq!(share(40, 1), share(1, 1));
    assert_ne!(share(40, 40), share(1, 1));
}

#[test]
fn spill_files_have_descriptors_where_a_listener_spills_and_nowhere_else() {
    let exit = "[[exit]]\nlisten = \"127.0.0.1:7000\"\n";
    let join = links::join_at("t.example.com:7000", 1);
    let desk = |rule: &str| with_egress(&format!("join = \"{join}\"\n{rule}"));
    let via = "[[proxy.rule]]\naction = \"via\"\nvia = \"socks5://192.0.2.1:1080\"\n";
    for (text, is_spilling) in [
        (with_listener(""), false),
        (with_egress(""), true),
        (exit.to_owned(), true),
        (format!("{exit}{}", with_egress("")), true),
        (desk(""), false),
        (desk(via), true),
        (format!("spill.mode = \"off\"\n{exit}"), false),
    ] {
        let around = Surroundings {
            descriptors: Some(1024),
            ..Surroundings::without_files(Path::new("/state"))
        };
        let plan = parse_with(&text, "byway.toml", &around).unwrap();
        let spills = plan
            .listeners
            .iter()
            .any(|listener| match &listener.frontend.role {
                Role::Egress(egress) => egress.spill,
                Role::Link(link) => matches!(&link.serves, Serves::Exit(exit) if exit.spill),
                _ => false,
            });
        assert_eq!(
            (spills, plan.descriptors.shares.spilled > 0),
            (is_spilling, is_spilling),
            "{text}"
        );
    }
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let around = Surroundings {
        folder: Path::new("/etc/byway"),
        ..Surroundings::without_files(Path::new("/state"))
    };
    let plan = parse_with(
        &with_listener("spill.directory = \"parked\""),
        "byway.toml",
        &around,
    )
    .unwrap();
    assert_eq!(plan.spill.directory, PathBuf::from("/etc/byway/parked"));
}

#[test]
fn an_edge_with_two_addresses_makes_two_listeners_that_share_it() {
    let plan = plan(
        "[[edge]]\nlisten = [\":8080\", \"unix:/run/x.sock\"]\n[[edge.route]]\nto = \"a:1\"\n",
    );
    let [first, second] = plan.listeners.as_slice() else {
        panic!("two listeners")
    };
    assert_eq!(
        (&*first.frontend.name, &*second.frontend.name),
        ("[::]:8080", "unix:/run/x.sock")
    );
    let (Role::Edge(a), Role::Edge(b)) = (&first.frontend.role, &second.frontend.role) else {
        panic!("two edges")
    };
    assert!(Arc::ptr_eq(a, b));
}

#[test]
fn equal_upstreams_are_one() {
    let text = "path = \"^/a\"\nto = [\"a:80\", \"b:80\"]\n[[edge.route]]\nto = \"http://A\"\n";
    let plan = plan(&with_route(text));
    let Role::Edge(edge) = &plan.listeners[0].frontend.role else {
        panic!("an edge")
    };
    assert!(Arc::ptr_eq(
        &edge.routes[0].upstreams[0],
        &edge.routes[1].upstreams[0]
    ));
    assert_eq!(&*edge.routes[0].name, "^/a");
    assert_eq!(&*edge.routes[1].name, "*");
}

#[test]
fn the_innermost_max_body_applies_and_none_removes_it() {
    let text = "limits.max_body = \"1MiB\"\n[[edge]]\nlisten = \":1\"\nmax_body = \"2MiB\"\n[[edge.route]]\nto = \"a:1\"\n\
                [[edge.route]]\npath = \"^/up\"\nto = \"a:1\"\nmax_body = \"none\"\n[[edge]]\nlisten = \":2\"\n[[edge.route]]\nto = \"a:1\"\n";
    let plan = plan(text);
    let (Role::Edge(first), Role::Edge(second)) = (
        &plan.listeners[0].frontend.role,
        &plan.listeners[1].frontend.role,
    ) else {
        panic!("two edges")
    };
    assert_eq!(plan.listeners[0].frontend.limits.max_body, Some(2 << 20));
    assert_eq!(plan.listeners[1].frontend.limits.max_body, Some(1 << 20));
    assert_eq!(first.routes[0].max_body, Some(2 << 20));
    assert_eq!(first.routes[1].max_body, None);
    assert_eq!(second.routes[0].max_body, Some(1 << 20));
}

#[test]
fn a_proxy_has_its_users_rules_and_limits() {
    let text = "\
users = [{ name = \"alice\", password = \"hunter2\" }]
stream_limit = \"200Mbit/s\"
default = \"deny\"
[[proxy.rule]]
action = \"via\"
via = \"socks5://u:p@Exit.example.com:1080\"
suffix = \".example.com\"
user = [\"alice\"]
[[proxy.rule]]
action = \"allow\"
cidr = [\"10.0.0.0/8\", \"::1\"]
port = [443, \"8000-8999\"]
";
    let plan = plan(&with_egress(text));
    let Role::Egress(egress) = &plan.listeners[0].frontend.role else {
        panic!("an exit")
    };
    assert_eq!(egress.settings.stream_limit, Some(Rate(25_000_000)));
    assert_eq!(egress.settings.default, Verdict::Deny);
    assert!(egress.spill);
    assert!(!format!("{plan:?}").contains("hunter2"));
    let [via, allow] = egress.rules.as_slice() else {
        panic!("two rules")
    };
    let RuleAction::Via(parent) = &via.action else {
        panic!("a parent")
    };
    assert_eq!(parent.to_string(), "socks5://u:***@exit.example.com:1080");
    assert_eq!(
        (via.number, via.suffixes[0].as_str(), &*via.users[0]),
        (1, "example.com", "alice")
    );
    assert_eq!(
        allow.cidrs,
        ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]
    );
    assert_eq!(allow.ports, [443..=443, 8000..=8999]);
}

#[test]
fn spill_off_is_off_for_proxies() {
    let plan = plan(&format!("spill.mode = \"off\"\n{}", with_egress("")));
    let Role::Egress(egress) = &plan.listeners[0].frontend.role else {
        panic!("an exit")
    };
    assert!(!egress.spill);
}

#[test]
fn the_shipped_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/byway.toml");
    let plan = load(&path, Path::new("/var/lib/byway")).unwrap_or_else(|errors| panic!("{errors}"));
    let kinds: Vec<_> = plan
        .listeners
        .iter()
        .map(|listener| std::mem::discriminant(&listener.frontend.role))
        .collect();
    assert!(kinds.len() > 3);
    assert!(
        plan.listeners
            .iter()
            .any(|listener| matches!(listener.frontend.role, Role::Edge(_)))
    );
    assert!(
        plan.listeners
            .iter()
            .any(|listener| matches!(listener.frontend.role, Role::Egress(_)))
    );
    assert!(
        plan.listeners
            .iter()
            .any(|listener| matches!(listener.frontend.role, Role::Forward(_)))
    );
    assert!(
        plan.listeners
            .iter()
            .any(|listener| matches!(listener.frontend.role, Role::Link(_)))
    );
    assert_eq!(
        plan.joins
            .iter()
            .map(|link| link.services.len())
            .sum::<usize>(),
        2
    );
}
