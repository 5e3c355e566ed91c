//! Status: what an operator wants to know of each certificate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::failure::{Failure, FailureKind};
use super::name::Name;
use super::schedule::Period;

/// The state of one certificate.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it is for.
    pub name: Name,
    /// The directory of its authority.
    pub directory: String,
    /// Whether a client's request caused it.
    pub is_on_demand: bool,
    /// When the one in use is valid. `None` if there is none yet.
    pub validity: Option<Period>,
    /// When it is planned to be renewed.
    pub renew_at: Option<SystemTime>,
    /// Whether an order is under way.
    pub is_busy: bool,
    /// Failures since the last success.
    pub failures: u32,
    /// The last failure since the last success, and when it was.
    pub last_failure: Option<(SystemTime, Failure)>,
    /// After a failure, when the next try is made.
    pub next_try: Option<SystemTime>,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub struct Counts {
    issued: AtomicU64,
    failed: [AtomicU64; FailureKind::ALL.len()],
}

impl Counts {
    /// Certificates obtained.
    pub fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    /// Failed tries of this kind.
    pub fn failed(&self, kind: FailureKind) -> u64 {
        self.failed[kind as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn note_issued(&self) {
        self.issued.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_failed(&self, kind: FailureKind) {
        self.failed[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_is_counted_for_itself() {
        for (index, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
        let counts = Counts::default();
        counts.note_failed(FailureKind::Caa);
        assert_eq!(counts.failed(FailureKind::Caa), 1);
        assert_eq!(counts.failed(FailureKind::State), 0);
    }
}
