//! Running: one of the demo's nodes.
//!
//! In:    a config file.
//! Out:   a node, its join files, and the public addresses of its services.
//! Never: leaves the node running: dropping this cuts it off.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use byway_relay::RelayCounters;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::config::{self, Bind};
use crate::link::LinkEvent;
use crate::node::Node;
use crate::os::inherit::Inherited;

/// One running node of the demo, with the join files and the public addresses that it has reported.
/// Dropping it cuts the node and waits until it has ended.
pub(super) struct Running {
    /// None after it was cut off.
    node: Option<Node>,
    events: UnboundedReceiver<LinkEvent>,
    joins: HashMap<String, PathBuf>,
    public: HashMap<String, String>,
}

/// On one machine, links and services need much less.
const PUBLIC_PATIENCE: Duration = Duration::from_secs(10);

impl Running {
    /// Starts a node with the config at `config`, its state in `state`, and what it spills in
    /// `spill`.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(config: &Path, state: &Path, spill: &Path) -> anyhow::Result<Self> {
        let mut plan = config::load(config, state)
            .map_err(|errors| anyhow!("the demo's own config: {errors}"))?;
        spill.clone_into(&mut plan.spill.directory);
        let node = Node::start(plan, &mut Inherited::default())?;
        let events = node
            .links()
            .events()
            .context("the events of this node have another receiver")?;
        let mut running = Self {
            node: Some(node),
            events,
            joins: HashMap::new(),
            public: HashMap::new(),
        };
        // The join strings are reported before the node serves.
        while let Ok(event) = running.events.try_recv() {
            running.handle_event(event);
        }
        Ok(running)
    }

    /// The node.
    pub(super) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The counters of its relays.
    ///
    /// # Errors
    /// When it was cut off.
    pub(super) fn counters(&self) -> anyhow::Result<Arc<RelayCounters>> {
        let node = self.node.as_ref().context("the node was cut off")?;
        Ok(Arc::clone(&node.context().engine.relay_counters))
    }

    /// The file with the join string of `listener`.
    ///
    /// # Errors
    /// When it has none.
    pub(super) fn join_file(&self, listener: &str) -> anyhow::Result<&Path> {
        self.joins
            .get(listener)
            .map(PathBuf::as_path)
            .with_context(|| format!("{listener} cannot be joined"))
    }

    /// Waits until `services` services are public.
    ///
    /// # Errors
    /// When they are not within [`PUBLIC_PATIENCE`].
    pub(super) async fn wait_for_public(&mut self, services: usize) -> anyhow::Result<()> {
        let waiting = async {
            while self.public.len() < services {
                let event = self.events.recv().await.context("the node has ended")?;
                self.handle_event(event);
            }
            anyhow::Ok(())
        };
        let waited = timeout(PUBLIC_PATIENCE, waiting).await;
        waited.with_context(|| {
            format!(
                "not every service was public after {} s",
                PUBLIC_PATIENCE.as_secs()
            )
        })?
    }

    /// `NAME.DOMAIN:PORT` of an exposed HTTP service.
    ///
    /// # Errors
    /// When it is not public.
    pub(super) fn public_name(&self, service: &str) -> anyhow::Result<String> {
        let url = self.public(service)?;
        Ok(url
            .strip_prefix("http://")
            .with_context(|| format!("{url} is not an HTTP URL"))?
            .to_owned())
    }

    /// The address of an exposed TCP service.
    ///
    /// # Errors
    /// When it is not public.
    pub(super) fn public_port(&self, service: &str) -> anyhow::Result<SocketAddr> {
        let address = self.public(service)?;
        address
            .parse()
            .with_context(|| format!("{address} is not an address with a port"))
    }

    fn public(&self, service: &str) -> anyhow::Result<&str> {
        self.public
            .get(service)
            .map(String::as_str)
            .with_context(|| format!("{service} is not public"))
    }

    /// The address of the node's own listener of that name.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn listener(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let listening = self
            .node
            .iter()
            .flat_map(Node::listening)
            .find(|listening| &*listening.name == name);
        match listening.map(|listening| listening.address) {
            Some(Bind::Tcp(address)) => Ok(address),
            _ => Err(anyhow!("no listener {name} on TCP")),
        }
    }

    fn handle_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Join { listener, file, .. } => {
                self.joins.insert(listener.to_string(), file);
            }
            LinkEvent::Public { service, address } => {
                self.public.insert(service.to_string(), address);
            }
            LinkEvent::Ended { detail, .. } => tracing::warn!("{detail}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.cut();
            node.join();
        }
    }
}
