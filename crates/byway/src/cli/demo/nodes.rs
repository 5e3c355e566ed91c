//! Nodes: the three nodes of the demo, as if on three machines.
//!
//! In:    a running origin, and the ground to start on.
//! Out:   `alone`, a node without links; `public`, a server of exposed services and an exit; and
//!        `inside`, an agent and desks that have joined it.
//! Never: starts only some of them.

use super::addresses::Addresses;
use super::ground::Ground;
use super::origin::Origin;
use super::plan;
use super::ports::{Ports, Wanted};
use super::running::Running;
use crate::node::{Node, NodeError};

/// The three nodes of the demo, as if on three machines. Dropping it cuts them off.
pub(super) struct Nodes {
    /// An edge, two egresses and three forwards.
    pub(super) alone: Running,
    /// The public ends of links.
    pub(super) public: Running,
    /// Their other ends.
    pub(super) inside: Running,
}

const ATTEMPTS: usize = 5;

impl Nodes {
    /// Starts them. Chooses other ports if another program takes one before it is bound.
    ///
    /// # Errors
    /// When one does not start, or its services do not become public.
    pub(super) async fn start(
        ground: &Ground,
        origin: &Origin,
        wanted: Wanted,
    ) -> anyhow::Result<(Self, Addresses)> {
        let mut attempt = 1;
        loop {
            let ports = Ports::choose(if attempt == 1 { wanted } else { Wanted::Any })?;
            match Self::start_on(ports, ground, origin).await {
                Err(error) if attempt < ATTEMPTS && is_taken(&error) => {
                    tracing::debug!("{error}; trying other ports");
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    async fn start_on(
        ports: Ports,
        ground: &Ground,
        origin: &Origin,
    ) -> anyhow::Result<(Self, Addresses)> {
        let alone = ground.start("alone", &plan::alone(&ports, ground, origin))?;
        let public = ground.start("public", &plan::public(&ports))?;
        let mut inside = ground.start("inside", &plan::inside(&ports, &public, origin)?)?;
        inside.wait_for_public(plan::EXPOSED).await?;
        let addresses = Addresses::new(ports, ground, &inside)?;
        Ok((
            Self {
                alone,
                public,
                inside,
            },
            addresses,
        ))
    }

    /// In the order in which they stop: the joining node before the node that it has joined.
    pub(super) fn in_stop_order(&self) -> Vec<&Node> {
        [&self.inside, &self.public, &self.alone]
            .into_iter()
            .filter_map(Running::node)
            .collect()
    }
}

fn is_taken(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(NodeError::Bind(_)))
}
