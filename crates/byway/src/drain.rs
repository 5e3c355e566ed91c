//! Drain: how the program is told to leave, and how it leaves.
//!
//! In:    SIGTERM or SIGINT, once or twice; SIGHUP.
//! Out:   after the first, a drain under the Plan's deadline; after the second, the end at once.
//! Never: leaves a connection without either its end or its deadline.

use std::future::Future;

use crate::node::Node;

/// Resolves with the signal's name when the program is told to stop.
pub async fn wait_for_stop_signal() -> &'static str {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be watched; stop this program by killing it");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }
}

/// Drains `node`; a second stop signal cuts it at once.
pub async fn drain(node: &Node, why: &str) {
    tracing::info!("{why}: draining; a second signal ends at once");
    tokio::select! {
        cut = node.drain() => match cut {
            0 => tracing::info!("drained"),
            cut => tracing::warn!("the drain deadline passed: {cut} tasks were cut"),
        },
        again = wait_for_stop_signal() => {
            tracing::warn!("{again} again: ending at once");
            node.cut();
        }
    }
}

/// Calls `reload` at every SIGHUP, for as long as it is polled.
pub async fn on_reload_signal<F: Future<Output = ()>>(mut reload: impl FnMut() -> F) {
    #[cfg(unix)]
    if let Ok(mut hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        while hangup.recv().await.is_some() {
            reload().await;
        }
    }
    std::future::pending().await
}
