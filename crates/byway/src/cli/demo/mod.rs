//! Demo: `byway demo [--check]`: everything on loopback in one process: an origin, an edge in front
//! of it, an egress; a server with an agent that exposes the origin, and an exit with desks.
//!
//! In:    nothing but where to keep state.
//! Out:   a table of addresses and lines to paste, until a signal; with `--check` one line a
//!        journey, and whether all held.
//! Never: reachable from another machine, and never leaves anything behind.
//!
//! `origin` (with `http`, `websocket`, `frame`) stands behind; `nodes` are started on the `ground`
//! with the configs of `plan` and `ports`; `table` is what a person reads. `check` runs `journeys`,
//! each of which enters the `scene` by some way as a `visitor`; some (`away`, `blocked`) bring a
//! node of their own.

mod addresses;
mod away;
mod blocked;
mod check;
mod echoes;
mod endings;
mod folder;
mod frame;
mod ground;
mod http;
mod journeys;
mod message;
mod nodes;
mod origin;
mod pattern;
mod paused;
mod plan;
mod ports;
mod refusals;
mod running;
mod scene;
mod table;
mod visitor;
mod websocket;

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};

use self::folder::Folder;
use self::ground::Ground;
use self::nodes::Nodes;
use self::origin::Origin;
use self::ports::Wanted;
use self::scene::Scene;
use super::{Common, run_node, terminal};
use crate::drain;
use crate::os::descriptors;
use crate::scope::{Scope, StopSignals};

/// What the demo does.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Walk every journey, print one line for each, and leave: exit code 0 only if all held
    #[arg(long)]
    pub check: bool,
}

/// Runs the demo to its end.
pub(super) fn run(args: &DemoArgs, common: &Common) -> ExitCode {
    descriptors::raise_limit();
    match play(args, common) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            terminal::error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// From the first socket to the last. `false`: a journey failed.
fn play(args: &DemoArgs, common: &Common) -> anyhow::Result<bool> {
    let runtime = runtime().context("cannot start the origin's thread")?;
    let stop = StopSignals::default();
    let scope = Scope::new(runtime.handle().clone(), &stop, Arc::default());
    let folder = Folder::make()?;
    let ground = Ground::new(folder.path(), &common.state());
    // A check disturbs nobody who has a demo running, and is not disturbed.
    let wanted = if args.check {
        Wanted::Any
    } else {
        Wanted::Friendly
    };
    let held = runtime.block_on(async {
        let origin = Origin::start(&scope, folder.path()).context("the origin cannot listen")?;
        let (nodes, addresses) = Nodes::start(&ground, &origin, wanted).await?;
        let scene = Scene::new(&nodes, ground, origin, addresses)?;
        let held = match args.check {
            true => walk(&nodes, &scene).await,
            false => stay(&nodes, &table::text(&scene), common).await,
        };
        stop.cut.raise();
        scope.ended().await;
        anyhow::Ok(held)
    })?;
    runtime.shutdown_timeout(LEAVE_PATIENCE);
    Ok(held)
}

/// A look-up or a sum that is still being computed is not waited for.
const LEAVE_PATIENCE: Duration = Duration::from_millis(200);

/// The origin and the visitors have a runtime of their own: the node's workers are the node's.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("byway-demo")
        .enable_all()
        .build()
}

/// Says that everything serves, and what to try; serves until a signal says stop.
async fn stay(nodes: &Nodes, table: &str, common: &Common) -> bool {
    let mut stop = pin!(drain::wait_for_stop_signal());
    // The first poll registers it: a signal that comes right behind the ready line is not lost.
    let early = stop.as_mut().now_or_never();
    run_node::say_ready_in_short(&nodes.leaving(), common.log).await;
    say(table);
    let why = match early {
        Some(why) => why,
        None => stop.await,
    };
    drain::drain(&nodes.leaving(), why).await;
    true
}

/// Walks every journey, unless a signal says stop.
async fn walk(nodes: &Nodes, scene: &Scene) -> bool {
    let held = tokio::select! {
        held = check::check(scene) => held,
        why = drain::wait_for_stop_signal() => {
            tracing::warn!("{why}: the check was not finished");
            false
        }
    };
    for node in nodes.leaving() {
        node.drain().await;
    }
    held
}

/// Prints on stdout. The demo goes on when the reader has left.
fn say(text: &str) {
    let _ = terminal::data(text);
}
