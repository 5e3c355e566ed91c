//! Case: the questions that a run asks, one a file.
//!
//! `cast` says who takes part (`front` which reverse proxies), `rounds` gives each its turns, `phases` asks what else there is
//! to ask, `figures` turns samples into a table, a chart and an answer. `edge`, `idle`, `websocket`, `slow`, `relay`,
//! `egress`, `agent`, `checkout`, `memory`, `link` and `tunnels` are the questions.

mod agent;
mod cast;
mod checkout;
mod edge;
mod egress;
mod figures;
mod front;
mod idle;
mod link;
mod memory;
mod phases;
mod relay;
mod rounds;
mod slow;
mod tunnels;
mod websocket;

use anyhow::Result;
use clap::ValueEnum;

use crate::load::bulk::Way;
use crate::report::Section;
use crate::setting::Setting;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// 1 KiB through the edge, access logs on for all
    EdgeSmall,
    /// 1 KiB through the edge, only byway logs
    EdgeOurLog,
    /// 64 KiB through the edge
    EdgeMedium,
    /// 1 MiB through the edge
    EdgeLarge,
    /// 64 KiB to the origin through the edge
    EdgePost,
    /// 1 KiB through the edge, a connection a request
    EdgeAlone,
    /// Memory of 10,000 idle keep-alive connections
    EdgeIdle,
    /// 1,000 WebSockets through the edge
    EdgeWebsocket,
    /// 1 KiB through the edge beside 1,000 slow visitors
    EdgeSlow,
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
    /// Checkout and release in byway-agent's pool
    AgentCheckout,
    /// Memory of idle programs and of idle streams
    Memory,
    /// Two nodes with a link between them, on each carrier
    Link,
    /// An exposed service through Byway, rathole and frp
    Tunnels,
}

/// Questions that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// The edge beside nginx, haproxy, caddy and pingora
    Edge,
    /// byway-agent beside hyper-util, reqwest, undici and Node's http.Agent
    Agent,
    /// TCP forwards and the egress beside a bare splice loop, haproxy, nginx, microsocks and tinyproxy
    Relay,
    /// Memory of idle programs
    Memory,
    /// Links and tunnels beside rathole and frp
    Links,
    /// How long a cold release build takes, in an empty folder; minutes
    BuildTime,
}

impl Case {
    /// All of them, in the order of the report.
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Where it belongs.
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
            Self::Relay | Self::Download | Self::Upload => Group::Relay,
            Self::AgentSmall | Self::AgentOrigins | Self::AgentCheckout => Group::Agent,
            Self::Memory => Group::Memory,
            Self::Link | Self::Tunnels => Group::Links,
        }
    }

    /// As it is named on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Asks the question.
    pub(crate) async fn run(self, setting: &Setting) -> Result<Vec<Section>> {
        eprintln!("lab: {}", self.name());
        setting.begin_question();
        let section = match self {
            Self::EdgeSmall => edge::run(setting, edge::Kind::Small).await?,
            Self::EdgeOurLog => edge::run(setting, edge::Kind::OurLog).await?,
            Self::EdgeMedium => edge::run(setting, edge::Kind::Medium).await?,
            Self::EdgeLarge => edge::run(setting, edge::Kind::Large).await?,
            Self::EdgePost => edge::run(setting, edge::Kind::Post).await?,
            Self::EdgeAlone => edge::run(setting, edge::Kind::Alone).await?,
            Self::EdgeIdle => idle::edges(setting).await?,
            Self::EdgeWebsocket => websocket::run(setting).await?,
            Self::EdgeSlow => slow::run(setting).await?,
            Self::Relay => return Ok(vec![relay::run(setting, Way::Down).await?, relay::run(setting, Way::Up).await?]),
            Self::Download => egress::run(setting, Way::Down).await?,
            Self::Upload => egress::run(setting, Way::Up).await?,
            Self::AgentSmall => agent::small(setting).await?,
            Self::AgentOrigins => agent::origins(setting).await?,
            Self::AgentCheckout => checkout::run(setting)?,
            Self::Memory => return memory::run(setting).await,
            Self::Link => return link::run(setting).await,
            Self::Tunnels => tunnels::run(setting).await?,
        };
        Ok(vec![section])
    }
}
