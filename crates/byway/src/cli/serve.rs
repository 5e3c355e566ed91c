//! Serve: what the serving verbs share: start, say that it is ready, wait for a signal, drain.
//!
//! In:    a Plan, and where to read a newer one at SIGHUP.   Out: an exit code.   Never: starts by half.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Common;
use crate::config::{self, Plan, Role};
use crate::drain;
use crate::node::{Listening, Node};
use crate::observe::log::LogFormat;
use crate::os::{descriptors, inherit};

/// Serves `plan` until a signal says stop.
pub(super) fn serve(plan: Plan, reload_from: Option<PathBuf>, common: &Common) -> ExitCode {
    descriptors::raise_limit();
    let mut inherited = inherit::from_environment();
    let node = match Node::start(plan, &mut inherited) {
        Ok(node) => node,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    for address in inherited.left() {
        tracing::warn!("the socket on {address} was handed over, but no listener of the config has that address");
    }
    let runtime = node.runtime().clone();
    runtime.block_on(async {
        let stop = drain::wait_for_stop_signal();
        let reloads = drain::on_reload_signal(|| reload(&node, reload_from.as_ref(), common));
        say_ready(&node, common.log);
        let why = tokio::select! {
            why = stop => why,
            () = reloads => "end of signals",
        };
        drain::drain(&node, why).await;
    });
    node.join();
    ExitCode::SUCCESS
}

/// One line on stderr: `ready: edge on 127.0.0.1:8080, proxy on 127.0.0.1:1080`.
pub(super) fn say_ready(node: &Node, format: LogFormat) {
    let plan = node.shared().plan.load();
    let listening: Vec<_> = node.listening().iter().map(|listening| described(&plan, listening)).collect();
    let line = listening.join(", ");
    match format {
        LogFormat::Human => eprintln!("ready: {line}"),
        LogFormat::Json => tracing::info!("ready: {line}"),
    }
}

fn described(plan: &Plan, listening: &Listening) -> String {
    let role = match plan.listener(&listening.key).map(|listener| &listener.role) {
        Some(Role::Edge(_)) => "edge",
        Some(Role::Egress(_)) => "proxy",
        Some(Role::Link(link)) => link.serves.word(),
        Some(Role::Forward(_)) | None => "tcp",
    };
    match *listening.name == listening.key.bind().to_string() {
        true => format!("{role} on {}", listening.address),
        false => format!("{role} {} on {}", listening.name, listening.address),
    }
}

/// SIGHUP: a config that is wrong changes nothing and says what is wrong.
fn reload(node: &Node, path: Option<&PathBuf>, common: &Common) {
    let Some(path) = path else {
        return tracing::warn!("SIGHUP: this command has no config file to read again");
    };
    match config::load(path, &common.state()) {
        Err(errors) => tracing::error!("reload refused, the old config stays in force:\n{errors}"),
        Ok(plan) => match node.apply(plan) {
            Err(error) => tracing::error!("reload refused, the old config stays in force: {error}"),
            Ok(diff) => tracing::info!("reloaded {}:\n{diff}", path.display()),
        },
    }
}
