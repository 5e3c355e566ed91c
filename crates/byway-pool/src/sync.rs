//! Sync: the locks, atomics and timers of the pool, and their replacements for model checking.
//!
//! With `cfg(loom)`, which only the package `byway-pool-models` sets, locks and atomics are
//! loom's, and waits never time out.

#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::AtomicUsize;
#[cfg(not(loom))]
pub(crate) use tokio::time::{Sleep, sleep};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::AtomicUsize;
#[cfg(loom)]
pub(crate) use modelled::{Mutex, Sleep, sleep};

#[cfg(loom)]
mod modelled {
    use std::time::Duration;

    /// loom's mutex with the interface of parking_lot's.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    pub(crate) type Sleep = std::future::Pending<()>;

    pub(crate) fn sleep(_: Duration) -> Sleep {
        std::future::pending()
    }
}

/// Separates data that one core writes often from data that other cores read often.
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
