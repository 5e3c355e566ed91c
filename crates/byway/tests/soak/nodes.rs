//! Nodes: a hub (edge, public end and exit), an agent (services and an egress), and a desk with two
//! links.
//!
//! In:    reloads and kills.
//! Out:   the ways through the nodes, and what each of them uses.
//! Never: another address after a kill than before.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use byway_testkit::pattern::Sum;
use byway_testkit::{Message, Origin, PATIENCE, Program, Served, Visitor, eventually, origin};

use super::BYWAY;
use super::load::Way;

const CARRIERS: [&str; 2] = ["quic", "tls"];
const DOMAIN: &str = "t.localhost";
/// Loopback is denied to an egress unless a rule opens it.
const OPEN: &str = "action = \"allow\"\ncidr = \"127.0.0.0/8\"\n";
/// Descriptors of pipes that workers keep: two for each direction of each client that uses them at
/// the same time.
const MOST_KEPT_PIPES: usize = 2 * 2 * 14;
/// Services that are always exposed: one of each kind per carrier.
const SERVICES: usize = 4;

pub(crate) struct Nodes {
    hub: Program,
    agent: Program,
    desk: Program,
    listen: Listen,
    origin: Origin,
    joins: [String; 2],
    raw: Vec<SocketAddr>,
    generation: usize,
}

/// Where the nodes listen: anywhere at first, and at the same addresses after a kill.
struct Listen {
    hub: [String; 5],
    agent: [String; 2],
}

/// What each node uses.
pub(crate) struct Usage(Vec<(&'static str, u64, Counts)>);

/// What must be the same whenever the nodes are idle.
#[derive(Clone, Copy, Debug)]
struct Counts {
    /// Without pipes.
    descriptors: usize,
    /// Both ends of each: a worker keeps the pipes that a busy direction used.
    pipes: usize,
    threads: u64,
    names: usize,
    sessions: usize,
}

impl Nodes {
    pub(crate) fn start() -> Self {
        let any = || "127.0.0.1:0".to_owned();
        let mut listen = Listen {
            hub: [(); 5].map(|()| any()),
            agent: [(); 2].map(|()| any()),
        };
        let origin = origin();
        // A reload does not move a listener from any port to its assigned one, but a new start can.
        let mut hub = Program::configured(BYWAY, &hub_config(&listen, &origin, 0));
        listen.hub = ["site", "serve", "edge", "exit", "metrics"]
            .map(|name| hub.address_of(name).to_string());
        hub.kill_and_start_again(&hub_config(&listen, &origin, 0));
        let joins = ["join-serve", "join-exit"].map(|file| {
            let join = std::fs::read_to_string(hub.folder().join("state").join(file))
                .expect("a join string");
            join.trim().to_owned()
        });
        let mut agent = Program::configured(BYWAY, &agent_config(&listen, &origin, &joins[0], 0));
        listen.agent = ["proxy", "metrics"].map(|name| agent.address_of(name).to_string());
        agent.kill_and_start_again(&agent_config(&listen, &origin, &joins[0], 0));
        let desk = Program::configured(BYWAY, &desk_config(&joins[1], 0));
        let raw = CARRIERS.map(|carrier| {
            let line = agent.wait_for_log(&format!("`raw-{carrier}` is public at "));
            line.rsplit(' ')
                .next()
                .and_then(|address| address.parse().ok())
                .expect("an address")
        });
        let nodes = Self {
            hub,
            agent,
            desk,
            listen,
            origin,
            joins,
            raw: raw.to_vec(),
            generation: 0,
        };
        nodes.settle();
        nodes
    }

    /// Every way to the origin.
    pub(crate) fn ways(&self) -> Vec<(String, Way)> {
        let to = self.origin.address();
        let http = self.hub.address_of("edge");
        let mut ways = vec![
            (
                "edge".to_owned(),
                Way::Direct {
                    at: self.hub.address_of("site"),
                    host: "site.example".to_owned(),
                },
            ),
            (
                "egress, SOCKS5".to_owned(),
                Way::Socks5 {
                    egress: self.agent.address_of("proxy"),
                    to,
                },
            ),
            (
                "egress, CONNECT".to_owned(),
                Way::Connect {
                    egress: self.agent.address_of("proxy"),
                    to,
                },
            ),
            (
                "egress, absolute".to_owned(),
                Way::Absolute {
                    egress: self.agent.address_of("proxy"),
                    to,
                },
            ),
        ];
        for (number, carrier) in CARRIERS.into_iter().enumerate() {
            let desk = self.desk.address_of(carrier);
            ways.extend([
                (
                    format!("HTTP service, {carrier}"),
                    Way::Direct {
                        at: http,
                        host: format!("web-{carrier}.{DOMAIN}"),
                    },
                ),
                (
                    format!("TCP service, {carrier}"),
                    Way::Direct {
                        at: self.raw[number],
                        host: "a".to_owned(),
                    },
                ),
                (
                    format!("desk, SOCKS5, {carrier}"),
                    Way::Socks5 { egress: desk, to },
                ),
                (
                    format!("desk, CONNECT, {carrier}"),
                    Way::Connect { egress: desk, to },
                ),
                (
                    format!("desk, absolute, {carrier}"),
                    Way::Absolute { egress: desk, to },
                ),
            ]);
        }
        ways
    }

    /// Gives every node another config, which adds or removes something.
    pub(crate) fn reload_all(&mut self) {
        self.generation += 1;
        let (hub, agent, desk) = self.configs();
        for (node, config) in [(&self.hub, hub), (&self.agent, agent), (&self.desk, desk)] {
            let log = node.reload(&config);
            assert!(!log.contains("refused"), "{log}");
        }
        if !self.generation.is_multiple_of(2) {
            let public = format!("byway_services{{state=\"public\"}} {}", SERVICES + 1);
            eventually("the service of this config is public", || {
                metrics(&self.agent).contains(&public)
            });
        }
    }

    pub(crate) fn kill_agent(&mut self) {
        let (_, config, _) = self.configs();
        self.agent.kill_and_start_again(&config);
        self.wait_until_linked();
    }

    pub(crate) fn kill_hub(&mut self) {
        let (config, ..) = self.configs();
        self.hub.kill_and_start_again(&config);
        // The other nodes may not have noticed yet that their links are lost.
        for carrier in CARRIERS {
            self.hub
                .wait_for_log(&format!("`raw-{carrier}` is public at "));
            self.hub
                .wait_for_log(&format!("`web-{carrier}` is public at "));
        }
        eventually("all links are up", || {
            sessions(&metrics(&self.hub)) == 2 * CARRIERS.len()
        });
        self.wait_until_linked();
    }

    /// Returns to the first config and waits until all links are up.
    pub(crate) fn settle(&self) {
        let settled = self.generation.is_multiple_of(2);
        if !settled {
            let (hub, agent, desk) = self.configs_of(0);
            for (node, config) in [(&self.hub, hub), (&self.agent, agent), (&self.desk, desk)] {
                node.reload(&config);
            }
        }
        eventually("the agent and the desk are linked", || {
            self.is_linked(SERVICES)
        });
        eventually("sessions of killed nodes are gone", || {
            sessions(&metrics(&self.hub)) == 2 * CARRIERS.len()
        });
    }

    fn wait_until_linked(&self) {
        let services = SERVICES + self.generation % 2;
        eventually("the agent and the desk are linked", || {
            self.is_linked(services)
        });
    }

    fn is_linked(&self, services: usize) -> bool {
        let (agent, desk) = (metrics(&self.agent), metrics(&self.desk));
        agent.contains(&format!("byway_services{{state=\"public\"}} {services}\n"))
            && [agent, desk].iter().all(|metrics| {
                let mut links = metrics
                    .lines()
                    .filter(|line| line.starts_with("byway_link_up{"));
                links.clone().count() == 2 && links.all(|line| line.ends_with(" 1"))
            })
    }

    fn configs(&self) -> (String, String, String) {
        self.configs_of(self.generation)
    }

    fn configs_of(&self, generation: usize) -> (String, String, String) {
        (
            hub_config(&self.listen, &self.origin, generation),
            agent_config(&self.listen, &self.origin, &self.joins[0], generation),
            desk_config(&self.joins[1], generation),
        )
    }

    pub(crate) fn usage(&self) -> Usage {
        let names =
            std::fs::read_to_string(self.hub.folder().join("state/names")).unwrap_or_default();
        let of = |name, node: &Program, names| {
            let files = node.open_files();
            let pipes = files
                .iter()
                .filter(|file| file.to_string_lossy().starts_with("pipe:"))
                .count();
            let counts = Counts {
                descriptors: files.len() - pipes,
                pipes,
                threads: node.threads(),
                names,
                sessions: sessions(&metrics(node)),
            };
            (name, node.rss_kib(), counts)
        };
        Usage(vec![
            of("hub", &self.hub, names.lines().count()),
            of("agent", &self.agent, public(&metrics(&self.agent))),
            of("desk", &self.desk, 0),
        ])
    }
}

impl Nodes {
    /// The usage as soon as `holds` returns true, or after the timeout of a test.
    pub(crate) fn usage_once(&self, holds: impl Fn(&Usage) -> bool) -> Usage {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.usage();
            if holds(&now) || Instant::now() > deadline {
                return now;
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// The number of descriptors of each kind, for each node.
    pub(crate) fn open_files(&self) -> String {
        let mut shown = String::new();
        for (name, node) in [
            ("hub", &self.hub),
            ("agent", &self.agent),
            ("desk", &self.desk),
        ] {
            let mut kinds = BTreeMap::<String, usize>::new();
            for file in node.open_files() {
                let file = file.to_string_lossy().into_owned();
                let kind = if file.starts_with('/') {
                    &file
                } else {
                    file.split('[').next().unwrap_or_default()
                };
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
            let _ = writeln!(shown, "  {name}: {kinds:?}");
        }
        shown
    }
}

impl Usage {
    /// Whether nothing exceeds `fresh`. Fewer threads are fine: idle threads for blocking work
    /// exit.
    pub(crate) fn is_back_at(&self, fresh: &Self) -> bool {
        self.0
            .iter()
            .zip(&fresh.0)
            .all(|((_, _, now), (_, _, fresh))| {
                now.descriptors <= fresh.descriptors
                    && now.pipes <= fresh.pipes + MOST_KEPT_PIPES
                    && now.threads <= fresh.threads
                    && now.names == fresh.names
                    && now.sessions == fresh.sessions
            })
    }

    pub(crate) fn rss_kib(&self) -> Vec<(&'static str, u64)> {
        self.0.iter().map(|(name, rss, _)| (*name, *rss)).collect()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, rss, counts)| {
            writeln!(f, "  {name}: {rss} KiB resident, {counts:?}")
        })
    }
}

fn metrics(node: &Program) -> String {
    let mut visitor = Visitor::connect(node.address_of("metrics"));
    visitor
        .ask("GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
        .text()
}

fn sessions(metrics: &str) -> usize {
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("byway_link_sessions"));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

fn public(metrics: &str) -> usize {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("byway_services{state=\"public\"} "));
    line.and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// The origin of every way: like [`Origin::useful`], and echoes after an upgrade.
fn origin() -> Origin {
    Origin::scripted(|visitor| {
        while let Some(request) = visitor.request_head() {
            if request.target() == "/sum" {
                let Some(answer) = sum(visitor, &request) else {
                    return;
                };
                visitor.try_send(answer);
                continue;
            }
            if request.field("Upgrade").is_none() {
                origin::serve_useful(visitor, &request);
                continue;
            }
            visitor.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            while visitor.fill() {
                let bytes = visitor.taken();
                if !visitor.try_send(bytes) {
                    return;
                }
            }
            return;
        }
    })
}

/// The answer to an upload; `None` if a kill cut it.
fn sum(visitor: &mut Served, request: &Message) -> Option<String> {
    let mut left: usize = request.field("Content-Length")?.parse().ok()?;
    let mut sum = Sum::new();
    while left > 0 {
        if !visitor.fill() {
            return None;
        }
        let bytes = visitor.taken();
        left = left.checked_sub(bytes.len())?;
        sum.add(&bytes);
    }
    Some(origin::ok(&format!("{} {}", sum.bytes(), sum.hex())))
}

/// The first lines of every config. Idle connections are closed soon, so that the counts settle.
fn begin(metrics: &str) -> String {
    format!(
        "workers = 2\n[pool]\nidle_timeout = \"1s\"\n[drain]\ndeadline = \"5s\"\n[metrics]\nlisten = \"{metrics}\"\n"
    )
}

fn hub_config(listen: &Listen, origin: &Origin, generation: usize) -> String {
    let [site, links, http, exit, metrics] = &listen.hub;
    let to = origin.address();
    let extra = match generation % 2 {
        0 => String::new(),
        _ => format!("[[edge.route]]\nhosts = [\"other.example\"]\nto = \"{to}\"\n"),
    };
    let more = match generation % 2 {
        0 => String::new(),
        _ => format!("[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"{to}\"\n"),
    };
    format!(
        "{}[[edge]]\nname = \"site\"\nlisten = \"{site}\"\n{extra}[[edge.route]]\nto = \"{to}\"\n[[serve]]\nlisten = \
         \"{links}\"\nhttp = \"{http}\"\ndomain = \"{DOMAIN}\"\nadvertise = \"127.0.0.1\"\n[[exit]]\nlisten = \
         \"{exit}\"\nadvertise = \"127.0.0.1\"\n[[exit.rule]]\n{OPEN}{more}",
        begin(metrics)
    )
}

fn agent_config(listen: &Listen, origin: &Origin, join: &str, generation: usize) -> String {
    let [proxy, metrics] = &listen.agent;
    let to = origin.address();
    let expose = |name: &str, kind: &str, carrier: &str| {
        format!(
            "[[expose]]\nname = \"{name}\"\n{kind} = \"{to}\"\njoin = \"{join}\"\ncarrier = \"{carrier}\"\n"
        )
    };
    let mut config = begin(metrics);
    for carrier in CARRIERS {
        config += &expose(&format!("raw-{carrier}"), "tcp", carrier);
        config += &expose(&format!("web-{carrier}"), "http", carrier);
    }
    if !generation.is_multiple_of(2) {
        config += &expose("extra", "http", CARRIERS[generation / 2 % 2]);
    }
    config
        + &format!(
            "[[proxy]]\nlisten = \"{proxy}\"\n{}[[proxy.rule]]\n{OPEN}",
            denied(generation)
        )
}

fn desk_config(join: &str, generation: usize) -> String {
    let mut config = begin("127.0.0.1:0");
    for carrier in CARRIERS {
        config += &format!(
            "[[proxy]]\nname = \"{carrier}\"\nlisten = \"127.0.0.1:0\"\njoin = \"{join}\"\ncarrier = \"{carrier}\"\n{}",
            denied(generation)
        );
    }
    config
}

/// A rule in every second config.
fn denied(generation: usize) -> &'static str {
    if generation.is_multiple_of(2) {
        ""
    } else {
        "[[proxy.rule]]\naction = \"deny\"\nhost = \"denied.example\"\n"
    }
}
