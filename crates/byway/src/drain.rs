//! Drain: how the program is stopped by signals, and how it drains.
//!
//! In:    SIGTERM or SIGINT, once or twice; SIGHUP; SIGUSR1.
//! Out:   after the first, a drain under the Plan's deadline; after the second, the end at once.
//! Never: leaves a connection without either its end or its deadline.

use crate::node::Node;

/// Listens for SIGTERM and SIGINT from the call on, and resolves with the name of the first one.
/// Call it inside a runtime, and before reporting that the program is ready: a signal without a
/// handler kills the process.
pub fn wait_for_stop_signal() -> impl Future<Output = &'static str> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let watched = signal(SignalKind::terminate())
            .and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
        async move {
            let Ok((mut terminate, mut interrupt)) = watched else {
                tracing::error!("cannot listen for signals; stop this program with SIGKILL");
                return std::future::pending().await;
            };
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        }
    }
    #[cfg(not(unix))]
    async {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }
}

/// Drains `nodes`, one after the other. A second stop signal cuts them all at once.
pub async fn drain(nodes: &[&Node], why: &str) {
    // Installed before the log line that announces it.
    let again = wait_for_stop_signal();
    // A node also drains because its link has ended.
    let is_second = why.starts_with("SIG") || why == "Ctrl-C";
    let signal = if is_second {
        "a second signal"
    } else {
        "a signal"
    };
    tracing::info!("{why}: draining; {signal} ends at once");
    let draining = async {
        let mut cut = 0;
        for node in nodes {
            cut += node.drain().await;
        }
        cut
    };
    tokio::select! {
        cut = draining => match cut {
            0 => tracing::info!("drained"),
            cut => tracing::warn!("the drain deadline passed: {cut} tasks were cut"),
        },
        again = again => {
            let again = if is_second { format!("{again} again") } else { again.to_owned() };
            tracing::warn!("{again}: ending at once");
            nodes.iter().for_each(|node| node.cut());
        }
    }
}

/// Listens for SIGHUP from the call on, and calls `reload` at each for as long as the future is
/// polled.
pub fn on_reload_signal(mut reload: impl FnMut()) -> impl Future<Output = ()> {
    #[cfg(unix)]
    let watched = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    async move {
        #[cfg(unix)]
        if let Ok(mut hangup) = watched {
            while hangup.recv().await.is_some() {
                reload();
            }
        }
        std::future::pending().await
    }
}

/// Listens for SIGUSR1, which log rotation sends, from the call on, and calls `reopen` at each for
/// as long as the future is polled. It is handled even without an access log, since its default
/// action kills the process.
pub fn on_reopen_signal(mut reopen: impl FnMut()) -> impl Future<Output = ()> {
    #[cfg(unix)]
    let watched = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1());
    async move {
        #[cfg(unix)]
        if let Ok(mut user_defined1) = watched {
            while user_defined1.recv().await.is_some() {
                reopen();
            }
        }
        std::future::pending().await
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_before_the_first_poll_is_not_missed() {
        let stop = wait_for_stop_signal();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        assert_eq!(stop.await, "SIGTERM");
    }
}
