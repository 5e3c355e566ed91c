//! Signal: an event that happens once: a flag to check, and a future to wait for it.
//!
//! In:    one call that raises it.
//! Out:   whether it or a parent of it was raised; a future that resolves then.
//! Never: becomes unset, or locks for a check.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio_util::sync::CancellationToken;

/// An event that happens at most once. It can be checked without a lock or awaited, and raises its
/// children with it. Clones are the same signal.
#[derive(Clone, Default)]
pub struct Signal(Arc<Inner>);

#[derive(Default)]
struct Inner {
    raised: AtomicBool,
    token: CancellationToken,
    parent: Option<Signal>,
}

impl Signal {
    /// A signal that is raised with this one, or alone.
    pub fn child(&self) -> Self {
        let inner = Inner {
            raised: AtomicBool::new(false),
            token: self.0.token.child_token(),
            parent: Some(self.clone()),
        };
        Self(Arc::new(inner))
    }

    /// Raises it and its children.
    pub fn raise(&self) {
        self.0.raised.store(true, SeqCst);
        self.0.token.cancel();
    }

    /// Whether it or a parent was raised.
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(SeqCst) || self.0.parent.as_ref().is_some_and(Self::is_raised)
    }

    /// Resolves once it or a parent is raised. Cancel safe.
    pub async fn raised(&self) {
        self.0.token.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_is_raised_alone_and_with_its_parent_and_a_parent_never_with_its_child() {
        let parent = Signal::default();
        let (one, other) = (parent.child(), parent.child());
        one.raise();
        one.raised().await;
        assert!(one.is_raised() && !other.is_raised() && !parent.is_raised());
        parent.raise();
        other.raised().await;
        assert!(other.is_raised());
    }
}
