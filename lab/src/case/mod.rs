//! Case: the questions of a run, one per file.
//!
//! `roles` lists the subjects (`proxy_rows` the reverse proxies), `rounds` runs them in turn,
//! `phases` takes the other measurements, `tables` turns samples into a table, a chart and an
//! answer. `edge`, `idle`, `websocket`, `slow`, `relay`, `egress`, `agent`, `checkout`, `memory`,
//! `link`, `tunnels` and those in `tls` and `path` are the questions.

mod agent;
mod checkout;
mod edge;
mod egress;
mod idle;
mod link;
mod memory;
mod path;
mod phases;
mod proxy_rows;
mod relay;
mod roles;
mod rounds;
mod slow;
mod tables;
mod tls;
mod tunnels;
mod websocket;

use anyhow::Result;
use clap::ValueEnum;

use crate::environment::RunEnvironment;
use crate::load::bulk::Way;
use crate::report::Section;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// 1 KiB through the edge, access logs on for all
    EdgeSmall,
    /// 1 KiB through the edge, only byway has an access log
    EdgeOurLog,
    /// 64 KiB through the edge
    EdgeMedium,
    /// 1 MiB through the edge
    EdgeLarge,
    /// 64 KiB to the origin through the edge
    EdgePost,
    /// 1 KiB through the edge, a connection per request
    EdgeAlone,
    /// Memory of 10,000 idle keep-alive connections
    EdgeIdle,
    /// 1,000 WebSockets through the edge
    EdgeWebsocket,
    /// 1 KiB through the edge beside 1,000 slow clients
    EdgeSlow,
    /// 1 KiB over HTTP/2 and TLS, 8 connections with 32 streams
    H2Small,
    /// 1 KiB over HTTP/2 and TLS, 64 connections with one stream
    H2Single,
    /// 64 KiB over HTTP/2 and TLS
    H2Medium,
    /// 1 KiB over HTTP/2 without TLS
    H2cSmall,
    /// Unary gRPC calls over TLS, to an origin over HTTP/2
    GrpcUnary,
    /// 1 KiB over HTTP/3
    H3Small,
    /// 64 KiB over HTTP/3
    H3Medium,
    /// 1 KiB over HTTP/1.1 and TLS
    TlsSmall,
    /// 1 MiB over HTTP/1.1 and TLS
    TlsLarge,
    /// TLS handshakes: full, post-quantum, resumed
    Handshakes,
    /// Memory of 10,000 idle TLS connections
    TlsIdle,
    /// Memory of 10,000 idle HTTP/2 connections
    H2Idle,
    /// One bulk TCP flow through a relay, each way
    Relay,
    /// One large download through the egress
    Download,
    /// One large upload through the egress
    Upload,
    /// 1 KiB from one origin, by HTTP clients
    AgentSmall,
    /// 1 KiB from 1,000 origins, by HTTP clients
    AgentOrigins,
    /// Checkout and release in byway-pool
    AgentCheckout,
    /// Memory of idle programs and of idle streams
    Memory,
    /// Two nodes with a link between them, on each carrier
    Link,
    /// An exposed service through Byway, rathole and frp
    Tunnels,
    /// The capacity of the path simulator itself
    PathCeiling,
    /// A download over 100 Mbit/s, 100 ms
    PathClean,
    /// A download over 500 Mbit/s, 100 ms
    PathCleanFast,
    /// A download over a path without limit
    PathCleanShort,
    /// A download with 1 % of packets lost
    PathLoss1,
    /// A download with 1 % of packets lost, once the link has had time to adapt
    PathLoss1Later,
    /// A download with 5 % of packets lost
    PathLoss5,
    /// A download with a burst of loss
    PathBurst,
    /// A download with 1 % of packets late
    PathReorder,
    /// A download where UDP is policed
    PathPoliced,
    /// The same after a lossy download and a pause
    PathLossyThenPoliced,
    /// A download where packets above 1,400 bytes are dropped silently
    PathMtu,
    /// Fetches of 1 MB and 10 MB
    PathFetch,
    /// Small fetches beside a download
    PathBeside,
    /// A download beside a TCP connection
    PathFairness,
    /// Visits, downloads and uploads while the path is silent for 5, 7 and 9.5 s
    PathHoles,
    /// Visits after the path was silent for 100 s
    PathLongHole,
    /// Visits while the path alternates between silent and working
    PathFlapping,
    /// Visits while UDP stops working
    PathUdpDies,
    /// Visits while the near end changes its address
    PathNewAddress,
    /// Downloads whose reader pauses for 70 s at the end
    PathPausedDownload,
    /// Kernel memory for readers that do not read
    PathPausedReader,
}

/// Questions that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// The edge beside nginx, haproxy, caddy and pingora
    Edge,
    /// The edge over TLS, with HTTP/1.1, HTTP/2 and HTTP/3, beside nginx, haproxy, caddy and hyper
    Tls,
    /// byway-agent beside hyper-util, reqwest, undici and Node's http.Agent
    Agent,
    /// TCP forwards and the egress beside a bare splice loop, haproxy, nginx, microsocks and
    /// tinyproxy
    Relay,
    /// Memory of idle programs
    Memory,
    /// Links and tunnels beside rathole and frp
    Links,
    /// Links over simulated paths beside TCP, ssh, shadowsocks, frp and hysteria; needs root, and
    /// runs only by name
    Paths,
    /// How long a cold release build takes, in an empty folder; minutes
    BuildTime,
}

impl Case {
    /// All of them, in the order of the report.
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// The group it belongs to.
    pub(crate) const fn group(self) -> Group {
        match self {
            Self::EdgeSmall
            | Self::EdgeOurLog
            | Self::EdgeMedium
            | Self::EdgeLarge
            | Self::EdgePost
            | Self::EdgeAlone
            | Self::EdgeIdle
            | Self::EdgeWebsocket
            | Self::EdgeSlow => Group::Edge,
            Self::H2Small
            | Self::H2Single
            | Self::H2Medium
            | Self::H2cSmall
            | Self::GrpcUnary
            | Self::H3Small
            | Self::H3Medium
            | Self::TlsSmall
            | Self::TlsLarge
            | Self::Handshakes
            | Self::TlsIdle
            | Self::H2Idle => Group::Tls,
            Self::Relay | Self::Download | Self::Upload => Group::Relay,
            Self::AgentSmall | Self::AgentOrigins | Self::AgentCheckout => Group::Agent,
            Self::Memory => Group::Memory,
            Self::Link | Self::Tunnels => Group::Links,
            Self::PathCeiling
            | Self::PathClean
            | Self::PathCleanFast
            | Self::PathCleanShort
            | Self::PathLoss1
            | Self::PathLoss1Later
            | Self::PathLoss5
            | Self::PathBurst
            | Self::PathReorder
            | Self::PathPoliced
            | Self::PathLossyThenPoliced
            | Self::PathMtu
            | Self::PathFetch
            | Self::PathBeside
            | Self::PathFairness
            | Self::PathHoles
            | Self::PathLongHole
            | Self::PathFlapping
            | Self::PathUdpDies
            | Self::PathNewAddress
            | Self::PathPausedDownload
            | Self::PathPausedReader => Group::Paths,
        }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Measures the question.
    pub(crate) async fn run(self, env: &RunEnvironment) -> Result<Vec<Section>> {
        eprintln!("lab: {}", self.name());
        env.begin_question();
        let section = match self {
            Self::EdgeSmall => edge::run(env, edge::EdgeKind::Small).await?,
            Self::EdgeOurLog => edge::run(env, edge::EdgeKind::OurLog).await?,
            Self::EdgeMedium => edge::run(env, edge::EdgeKind::Medium).await?,
            Self::EdgeLarge => edge::run(env, edge::EdgeKind::Large).await?,
            Self::EdgePost => edge::run(env, edge::EdgeKind::Post).await?,
            Self::EdgeAlone => edge::run(env, edge::EdgeKind::Alone).await?,
            Self::EdgeIdle => idle::edges(env).await?,
            Self::EdgeWebsocket => websocket::run(env).await?,
            Self::EdgeSlow => slow::run(env).await?,
            Self::H2Small => tls::throughput(env, tls::TlsKind::H2Small).await?,
            Self::H2Single => tls::throughput(env, tls::TlsKind::H2Single).await?,
            Self::H2Medium => tls::throughput(env, tls::TlsKind::H2Medium).await?,
            Self::H2cSmall => tls::throughput(env, tls::TlsKind::H2cSmall).await?,
            Self::GrpcUnary => tls::throughput(env, tls::TlsKind::GrpcUnary).await?,
            Self::H3Small => tls::throughput(env, tls::TlsKind::H3Small).await?,
            Self::H3Medium => tls::throughput(env, tls::TlsKind::H3Medium).await?,
            Self::TlsSmall => tls::throughput(env, tls::TlsKind::TlsSmall).await?,
            Self::TlsLarge => tls::throughput(env, tls::TlsKind::TlsLarge).await?,
            Self::Handshakes => return tls::handshakes(env).await,
            Self::TlsIdle => tls::tls_idle(env).await?,
            Self::H2Idle => tls::h2_idle(env).await?,
            Self::Relay => {
                return Ok(vec![
                    relay::run(env, Way::Down).await?,
                    relay::run(env, Way::Up).await?,
                ]);
            }
            Self::Download => egress::run(env, Way::Down).await?,
            Self::Upload => egress::run(env, Way::Up).await?,
            Self::AgentSmall => agent::small(env).await?,
            Self::AgentOrigins => agent::origins(env).await?,
            Self::AgentCheckout => checkout::run(env)?,
            Self::Memory => return memory::run(env).await,
            Self::Link => return link::run(env).await,
            Self::Tunnels => tunnels::run(env).await?,
            Self::PathCeiling => path::ceiling(env).await?,
            Self::PathClean => path::goodput(env, path::Question::CLEAN).await?,
            Self::PathCleanFast => path::goodput(env, path::Question::CLEAN_FAST).await?,
            Self::PathCleanShort => path::goodput(env, path::Question::CLEAN_SHORT).await?,
            Self::PathLoss1 => path::goodput(env, path::Question::LOSS_1).await?,
            Self::PathLoss1Later => path::goodput(env, path::Question::LOSS_1_LATER).await?,
            Self::PathLoss5 => path::goodput(env, path::Question::LOSS_5).await?,
            Self::PathBurst => path::goodput(env, path::Question::BURST).await?,
            Self::PathReorder => path::goodput(env, path::Question::REORDER).await?,
            Self::PathPoliced => path::goodput(env, path::Question::POLICED).await?,
            Self::PathLossyThenPoliced => {
                path::goodput(env, path::Question::LOSSY_THEN_POLICED).await?
            }
            Self::PathMtu => path::goodput(env, path::Question::MTU_HOLE).await?,
            Self::PathFetch => path::fetch(env).await?,
            Self::PathBeside => return path::beside(env).await,
            Self::PathFairness => path::fairness(env).await?,
            Self::PathHoles => return path::outages(env, &path::Outage::HOLES).await,
            Self::PathLongHole => return path::outages(env, &[path::Outage::LONG]).await,
            Self::PathFlapping => return path::outages(env, &[path::Outage::FLAPPING]).await,
            Self::PathUdpDies => return path::outages(env, &[path::Outage::UDP_DIES]).await,
            Self::PathNewAddress => {
                return path::outages(env, &[path::Outage::NEW_ADDRESS]).await;
            }
            Self::PathPausedDownload => path::paused_downloads(env).await?,
            Self::PathPausedReader => path::paused_readers(env).await?,
        };
        Ok(vec![section])
    }
}
