//! Case: the questions that a run asks, one a file.
//!
//! `cast` says who takes part, `rounds` gives each its turns, `figures` turns samples into a table and an answer; `edge`,
//! `egress`, `memory`, `link` and `tunnels` are the questions.

mod cast;
mod edge;
mod egress;
mod figures;
mod link;
mod memory;
mod rounds;
mod tunnels;

use anyhow::Result;
use clap::ValueEnum;

use crate::load::bulk::Way;
use crate::report::Section;
use crate::setting::Setting;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// HTTP/1.1 keep-alive through the edge, 1 KiB
    EdgeSmall,
    /// HTTP/1.1 keep-alive through the edge, 1 MiB
    EdgeLarge,
    /// One large download through the egress
    Download,
    /// One large upload through the egress
    Upload,
    /// Memory of idle programs and of idle connections
    Memory,
    /// Two nodes with a link between them, on each carrier
    Link,
    /// An exposed service through Byway, rathole and frp
    Tunnels,
}

impl Case {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 7] =
        [Self::EdgeSmall, Self::EdgeLarge, Self::Download, Self::Upload, Self::Memory, Self::Link, Self::Tunnels];

    /// Asks the question.
    pub(crate) async fn run(self, setting: &Setting) -> Result<Vec<Section>> {
        eprintln!("lab: {}", self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()));
        match self {
            Self::EdgeSmall => Ok(vec![edge::run(setting, edge::Size::Small).await?]),
            Self::EdgeLarge => Ok(vec![edge::run(setting, edge::Size::Large).await?]),
            Self::Download => Ok(vec![egress::run(setting, Way::Down).await?]),
            Self::Upload => Ok(vec![egress::run(setting, Way::Up).await?]),
            Self::Memory => memory::run(setting).await,
            Self::Link => link::run(setting).await,
            Self::Tunnels => Ok(vec![tunnels::run(setting).await?]),
        }
    }
}
