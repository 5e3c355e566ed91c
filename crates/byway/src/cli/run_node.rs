//! Run node: the shared part of the serving verbs: start, report readiness, wait for a signal,
//! drain.
//!
//! In:    a Plan, and where to read a newer one at SIGHUP.
//! Out:   an exit code; on stdout, without a config file, join strings and public addresses, one a
//!        line.
//! Never: starts partially, or writes a join string to a log.

use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::run::{self, RunArgs};
use super::{Common, EXIT_CONFIG, terminal};
use crate::config::{Plan, Role};
use crate::drain;
use crate::link::LinkEvent;
use crate::link::outgoing::FirstDial;
use crate::node::{Listening, Node};
use crate::observe::log::LogFormat;
use crate::os::{descriptors, inherit};

/// Serves `plan` until a stop signal. Without a file to reload from, the command is interactive: an
/// error of a link that waiting cannot fix is printed and ends it; a daemon would wait.
pub(super) fn serve(plan: Plan, reload_from: Option<RunArgs>, common: &Common) -> ExitCode {
    descriptors::raise_limit();
    let mut inherited = inherit::from_environment();
    let interactive = reload_from.is_none();
    let node = match Node::start_for(plan, &mut inherited, interactive) {
        Ok(node) => node,
        Err(error) => {
            terminal::error(error);
            return ExitCode::FAILURE;
        }
    };
    for address in inherited.left() {
        tracing::warn!(
            "the socket on {address} was handed over, but no listener of the config has that address"
        );
    }
    let runtime = node.runtime().clone();
    let code = runtime.block_on(async {
        let stop = drain::wait_for_stop_signal();
        let reopens = drain::on_reopen_signal(|| node.reopen_access_log());
        let reloads = drain::on_reload_signal(|| reload(&node, reload_from.as_ref(), common));
        let events = node.links().events();
        let nodes = [&node];
        let reported = async {
            print_ready_of(&nodes, common.log).await;
            report_events(events, interactive).await
        };
        // Nothing is lost with a dropped arm: the first one that ends begins the drain.
        let (why, code) = tokio::select! {
            why = stop => (why, ExitCode::SUCCESS),
            () = reopens => ("end of signals", ExitCode::SUCCESS),
            () = reloads => ("end of signals", ExitCode::SUCCESS),
            code = reported => ("the link has ended", code),
        };
        drain::drain(&[&node], why).await;
        code
    });
    node.join();
    code
}

/// Reports events as they arrive; returns an exit code when the link has ended.
async fn report_events(
    events: Option<mpsc::UnboundedReceiver<LinkEvent>>,
    interactive: bool,
) -> ExitCode {
    let Some(mut events) = events else {
        return std::future::pending().await;
    };
    while let Some(event) = events.recv().await {
        match event {
            LinkEvent::Join { text, .. } if interactive => print_line(&format!("join {text}")),
            LinkEvent::Join { listener, file, .. } => {
                tracing::info!("the join string of {listener} is in {}", file.display());
            }
            LinkEvent::Public { address, .. } if interactive => print_line(&address),
            LinkEvent::Public { service, address } => {
                tracing::info!("`{service}` is public at {address}")
            }
            LinkEvent::Ended { detail, is_config } => {
                terminal::error(detail);
                return if is_config {
                    ExitCode::from(EXIT_CONFIG)
                } else {
                    ExitCode::FAILURE
                };
            }
        }
    }
    std::future::pending().await
}

/// Prints a line on stdout. The node continues if stdout is closed.
fn print_line(line: &str) {
    let _ = terminal::data(format_args!("{line}\n"));
}

/// How long the ready line waits for the result of a link's first dial.
const FIRST_DIAL_PATIENCE: Duration = Duration::from_secs(1);

/// One line on stderr: `ready: edge on 127.0.0.1:8080, proxy on 127.0.0.1:1080`, with the state of
/// links that the node dials. Listeners serve already. A dial that fails permanently has an error
/// of its own and no ready line.
pub(super) async fn print_ready_of(nodes: &[&Node], format: LogFormat) {
    let deadline = Instant::now() + FIRST_DIAL_PATIENCE;
    let mut parts = Vec::new();
    for node in nodes {
        let plan = node.live().plan();
        parts.extend(
            node.listening()
                .iter()
                .map(|listening| described(&plan, listening)),
        );
        for join in &plan.joins {
            let Some(outgoing) = node.links().outgoing(&join.id) else {
                continue;
            };
            match outgoing.first_dial(deadline).await {
                FirstDial::Final => return,
                first => parts.push(format!("link to {} ({first})", join.join.address)),
            }
        }
    }
    print_ready(&parts.join(", "), format);
}

/// The same for a node whose addresses are printed elsewhere: `ready: 12 listeners, 4 links`. A
/// link that is not up has a warning of its own.
pub(super) async fn print_ready_in_short(nodes: &[&Node], format: LogFormat) {
    let deadline = Instant::now() + FIRST_DIAL_PATIENCE;
    let (mut listeners, mut links) = (0, 0);
    for node in nodes {
        listeners += node.listening().len();
        for join in &node.live().plan().joins {
            let Some(outgoing) = node.links().outgoing(&join.id) else {
                continue;
            };
            outgoing.first_dial(deadline).await;
            links += 1;
        }
    }
    print_ready(&format!("{listeners} listeners, {links} links"), format);
}

fn print_ready(line: &str, format: LogFormat) {
    match format {
        LogFormat::Human => terminal::note(format_args!("ready: {line}")),
        LogFormat::Json => tracing::info!("ready: {line}"),
    }
}

fn described(plan: &Plan, listening: &Listening) -> String {
    let role = match plan
        .listener(&listening.key)
        .map(|listener| &listener.frontend.role)
    {
        Some(Role::Edge(_)) => "edge",
        Some(Role::Egress(_)) => "proxy",
        Some(Role::Link(link)) => link.serves.word(),
        Some(Role::Metrics) => "metrics",
        Some(Role::Forward(_) | Role::PublicPort(_) | Role::Agent(_)) | None => "tcp",
    };
    match *listening.name == listening.key.bind().to_string() {
        true => format!("{role} on {}", listening.address),
        false => format!("{role} {} on {}", listening.name, listening.address),
    }
}

/// SIGHUP: a config with errors changes nothing; the errors are logged.
fn reload(node: &Node, from: Option<&RunArgs>, common: &Common) {
    let Some(from) = from else {
        return tracing::warn!("SIGHUP: this command has no config file to read again");
    };
    let path = from.path();
    match from.load(common) {
        Err(errors) => tracing::error!("reload refused, the old config stays in force:\n{errors}"),
        Ok(plan) => {
            run::warn(&plan);
            match node.apply(plan) {
                Err(error) => {
                    tracing::error!("reload refused, the old config stays in force: {error}")
                }
                Ok(diff) => tracing::info!("reloaded {}:\n{diff}", path.display()),
            }
        }
    }
}
