//! Demo: `byway demo [--check]`: everything on loopback in one process: an origin, an edge in front
//! of it, an egress; a server with an agent that exposes the origin, and an exit with desks.
//!
//! In:    the state folder.
//! Out:   a table of addresses and lines to paste, until a signal; with `--check` one line a
//!        journey, and whether all passed.
//! Never: reachable from another machine, and never leaves files behind.
//!
//! `origin` (with `http`, `websocket`) is the upstream; `nodes` are started on the
//! `ground` with the configs of `plan` and `ports`; `table` is the printed text. `check` runs
//! `journeys`, each of which enters the `scene` by some way as a `visitor`; some (`away`,
//! `blocked`) start a node of their own.

mod addresses;
mod away;
mod blocked;
mod check;
mod echoes;
mod endings;
mod folder;
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
use crate::observe::telemetry::Telemetry;
use crate::os::descriptors;
use crate::runtime::scope::{Scope, StopSignals};

/// The flags of the demo.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Run every journey, print one line for each, and exit: exit code 0 only if all passed
    #[arg(long)]
    pub check: bool,
}

/// Runs the demo to its end.
pub(super) fn run(args: &DemoArgs, common: &Common) -> ExitCode {
    descriptors::raise_limit();
    match run_demo(args, common) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            terminal::error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Starts everything, runs it, and stops it. `false`: a journey failed.
fn run_demo(args: &DemoArgs, common: &Common) -> anyhow::Result<bool> {
    let runtime = runtime().context("cannot start the origin's thread")?;
    let stop = StopSignals::default();
    let scope = Scope::new(
        runtime.handle().clone(),
        &stop,
        Telemetry::default().on_panic(),
    );
    let folder = Folder::make()?;
    let ground = Ground::new(folder.path(), &common.state());
    // A check takes no port of a running demo.
    let wanted = if args.check {
        Wanted::Any
    } else {
        Wanted::Friendly
    };
    let passed = runtime.block_on(async {
        let origin = Origin::start(&scope, folder.path()).context("the origin cannot listen")?;
        let (nodes, addresses) = Nodes::start(&ground, &origin, wanted).await?;
        let scene = Scene::new(&nodes, ground, origin, addresses)?;
        let passed = match args.check {
            true => run_journeys(&nodes, &scene).await,
            false => serve(&nodes, &table::text(&scene), common).await,
        };
        stop.cut.raise();
        scope.ended().await;
        anyhow::Ok(passed)
    })?;
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    Ok(passed)
}

/// How long a look-up or a sum that is still being computed is waited for.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(200);

/// The origin and the visitors have a runtime of their own, apart from the nodes' workers.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("byway-demo")
        .enable_all()
        .build()
}

/// Prints the ready line and what to try; serves until a stop signal.
async fn serve(nodes: &Nodes, table: &str, common: &Common) -> bool {
    let mut stop = pin!(drain::wait_for_stop_signal());
    // The first poll registers it: a signal right after the ready line is not lost.
    let early = stop.as_mut().now_or_never();
    run_node::print_ready_in_short(&nodes.in_stop_order(), common.log).await;
    print(table);
    let why = match early {
        Some(why) => why,
        None => stop.await,
    };
    drain::drain(&nodes.in_stop_order(), why).await;
    true
}

/// Runs every journey, until a stop signal.
async fn run_journeys(nodes: &Nodes, scene: &Scene) -> bool {
    let passed = tokio::select! {
        passed = check::check(scene) => passed,
        why = drain::wait_for_stop_signal() => {
            tracing::warn!("{why}: the check was not finished");
            false
        }
    };
    for node in nodes.in_stop_order() {
        node.drain().await;
    }
    passed
}

/// Prints on stdout. The demo continues if stdout is closed.
fn print(text: &str) {
    let _ = terminal::data(text);
}
