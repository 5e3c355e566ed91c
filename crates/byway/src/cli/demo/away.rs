//! Away: journeys of an agent that is cut off, and of visitors that arrive before it is back.
//!
//! In:    a scene.
//! Out:   journeys that pass if no visitor is refused, and the public addresses stay the same.
//! Never: cuts off a node of other journeys: the agent is a node of the journey's own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use byway_dial::Target;
use byway_link::CarrierKind;
use tokio::time::timeout;

use super::journeys::Journey;
use super::running::Running;
use super::scene::Scene;
use super::visitor::Visitor;

/// While the agent is away, visitors must get no response; the check waits this long for one.
const WATCHED: Duration = Duration::from_millis(50);

/// One for each carrier.
pub(super) fn all(scene: &Scene) -> Vec<Journey<'_>> {
    let away = |carrier| {
        Journey::new(
            format!("agent cut off and back: {carrier}"),
            away(scene, carrier),
        )
    };
    [CarrierKind::Quic, CarrierKind::Tls].map(away).into()
}

async fn away(scene: &Scene, carrier: CarrierKind) -> anyhow::Result<String> {
    let agent = Agent {
        scene,
        name: format!("away-{carrier}"),
        config: config(scene, carrier),
    };
    let (running, public) = agent.start().await?;
    for mut visitor in agent.visit(&public).await? {
        visitor.fetch("/").await.context("before it was cut off")?;
        visitor.leave();
    }
    drop(running);

    let mut early = agent.visit(&public).await?;
    for (visitor, method) in early.iter_mut().zip(METHODS) {
        ask(visitor, method).await?;
        let answer = timeout(WATCHED, visitor.answer(method)).await;
        ensure!(
            answer.is_err(),
            "a visitor got this while the agent was away: {answer:?}"
        );
    }
    let started = Instant::now();
    let (_running, again) = agent.start().await?;
    for (visitor, method) in early.iter_mut().zip(METHODS) {
        let answer = visitor
            .answer(method)
            .await
            .context("a visitor that arrived while the agent was away")?;
        let text = visitor.text(&answer).await?;
        ensure!(
            answer.status == 200,
            "a visitor that arrived meanwhile got {}: {}",
            answer.status,
            text.trim()
        );
    }
    let took = started.elapsed().as_millis();
    early.into_iter().for_each(Visitor::leave);
    ensure!(public == again, "{public:?} has become {again:?}");
    Ok(format!(
        "three were parked and got 200 {took} ms after the restart, by the same name and port"
    ))
}

fn config(scene: &Scene, carrier: CarrierKind) -> String {
    let (join, origin) = (scene.server_join.display(), scene.origin.http);
    format!(
        r#"workers = 1

[[expose]]
name = "away-{carrier}"
http = "{origin}"
join_file = "{join}"
carrier = "{carrier}"

[[expose]]
name = "by port"
tcp = "{origin}"
join_file = "{join}"
carrier = "{carrier}"
"#
    )
}

/// Two by the name, of which the node may retry one and not the other; one by the port.
const METHODS: [&str; 3] = ["GET", "POST", "GET"];

async fn ask(visitor: &mut Visitor, method: &str) -> anyhow::Result<()> {
    if method == "GET" {
        return visitor.ask(method, "/", "").await;
    }
    visitor
        .ask(method, "/sink", "Content-Length: 1024\r\n")
        .await?;
    visitor.send_pattern(1024).await
}

/// The agent, which is started twice.
struct Agent<'a> {
    scene: &'a Scene,
    name: String,
    config: String,
}

/// Where the agent's services are public.
#[derive(Debug, PartialEq, Eq)]
struct Public {
    name: String,
    port: SocketAddr,
}

impl Agent<'_> {
    async fn start(&self) -> anyhow::Result<(Running, Public)> {
        let mut running = self.scene.ground.start(&self.name, &self.config)?;
        running.wait_for_public(2).await?;
        let public = Public {
            name: running.public_name(&self.name)?,
            port: running.public_port("by port")?,
        };
        Ok((running, public))
    }

    /// A visitor for each of [`METHODS`].
    async fn visit(&self, public: &Public) -> anyhow::Result<[Visitor; 3]> {
        let by_name = Target::Addr(self.scene.at.visitors);
        Ok([
            Visitor::on(self.scene.direct(&by_name).await?, &public.name),
            Visitor::on(self.scene.direct(&by_name).await?, &public.name),
            Visitor::on(
                self.scene.direct(&Target::Addr(public.port)).await?,
                public.port,
            ),
        ])
    }
}
