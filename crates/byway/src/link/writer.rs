//! Writer: decides what this process may write in the state folder, and when.
//!
//! In:    the purposes of this node's listeners; the locks of the folder, which an earlier process
//!        of the same node may hold.
//! Out:   join strings and the file of names, written by one process at a time.
//! Never: writes for a purpose without its lock, and never waits for the disk on a worker.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use byway_dial::Target;
use byway_link::{Fingerprint, JoinString, Purpose};
use byway_tls::state_file;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::grants::{GrantError, Grants};
use super::join_file::JoinFile;
use super::lock::{NotLocked, StateLock};
use super::registry::ServiceRegistry;
use super::{LinkEvent, LinkSetupError};
use crate::observe::log_limit::LogLimit;

/// Writes the join strings and the file of names in the state folder, for each purpose only while
/// this process has its lock.
pub struct Writer {
    state: PathBuf,
    runtime: Handle,
    grants: Grants,
    registry: Arc<ServiceRegistry>,
    events: mpsc::UnboundedSender<LinkEvent>,
    purposes: Mutex<HashMap<Purpose, Writes>>,
    /// Log limit for locks that could not be taken, and names that could not be read.
    failures: LogLimit,
}

/// Whether this process may write the files of a purpose.
enum Writes {
    /// It has the lock.
    Now { lock: StateLock },
    /// An earlier process of the same node still has the lock. These join strings are written when
    /// it has released it.
    Later { joins: Vec<JoinRequest> },
    /// It has released the lock to the next process.
    NoMore,
}

/// The join string that a listener needs.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The name of the listener.
    pub listener: Arc<str>,
    /// The file of the join string.
    pub file: JoinFile,
    /// The purpose of its grant.
    pub purpose: Purpose,
    /// The fingerprint of this node's key.
    pub pin: Fingerprint,
    /// The address at which others reach this node.
    pub address: Target,
}

/// How often to try to take the lock of an earlier process.
const TAKE_OVER_TICK: Duration = Duration::from_millis(250);

/// How long the last write may take.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);

impl Writer {
    /// A writer without any lock yet.
    pub(super) fn new(
        state: &Path,
        runtime: Handle,
        grants: Grants,
        registry: Arc<ServiceRegistry>,
        events: mpsc::UnboundedSender<LinkEvent>,
    ) -> Self {
        // A failure repeats four times a second: log the first, and few more.
        let failures = LogLimit::with_first(1);
        Self {
            state: state.to_owned(),
            runtime,
            grants,
            registry,
            events,
            purposes: Mutex::default(),
            failures,
        }
    }

    /// Takes the lock of `purpose`, and reads the names if it is for services. With `follows` this
    /// process was started with the sockets of an earlier process of the same node, which may still
    /// hold the lock: then it starts as a reader, and takes the lock when that process has released
    /// it ([`Writer::take_over`]). Waits for the disk.
    ///
    /// # Errors
    /// When another process has the lock, or the names cannot be read.
    pub fn lock_state(&self, purpose: Purpose, follows: bool) -> Result<(), LinkSetupError> {
        let mut purposes = self.purposes.lock();
        if purposes.contains_key(&purpose) {
            return Ok(());
        }
        let writes = match StateLock::take(&self.state, purpose) {
            Err(NotLocked::Held { holder, .. }) if follows => {
                tracing::info!(
                    "{holder} still writes to {}; this process waits until it has left",
                    self.state.display()
                );
                Writes::Later { joins: Vec::new() }
            }
            taken => Writes::Now { lock: taken? },
        };
        state_file::remove_scratch(&self.state);
        state_file::remove_scratch(&self.state.join("grants"));
        if purpose == Purpose::Serve {
            self.registry.load()?;
            if matches!(writes, Writes::Now { .. }) {
                self.registry.begin_writing();
            }
        }
        purposes.insert(purpose, writes);
        Ok(())
    }

    /// Ensures that the join string of a listener is in its file, and announces it. Without the
    /// lock it only reads the file: the join string is written after [`Writer::take_over`]. Waits
    /// for the disk.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn prepare_join(&self, request: &JoinRequest) -> Result<(), GrantError> {
        if self.holds_lock(request.purpose) {
            let join = self.grants.join_string(
                &request.file,
                request.purpose,
                request.pin,
                request.address.clone(),
            )?;
            self.announce(request, &join);
            return Ok(());
        }
        if let Some(Writes::Later { joins }) = self.purposes.lock().get_mut(&request.purpose) {
            joins.retain(|other| other.file.path != request.file.path);
            joins.push(request.clone());
        }
        let JoinRequest {
            file,
            purpose,
            pin,
            address,
            ..
        } = request;
        let kept = self
            .grants
            .kept_join_string(file, *purpose, *pin, address.clone())?;
        if let Some(join) = kept {
            self.announce(request, &join);
        }
        Ok(())
    }

    fn announce(&self, request: &JoinRequest, join: &JoinString) {
        let (listener, file) = (Arc::clone(&request.listener), request.file.path.clone());
        // Bounded like all events: by the listeners of the Plan, and by how often they change.
        let _ = self.events.send(LinkEvent::Join {
            listener,
            text: join.expose(),
            file,
        });
    }

    fn holds_lock(&self, purpose: Purpose) -> bool {
        matches!(self.purposes.lock().get(&purpose), Some(Writes::Now { .. }))
    }

    /// Takes the locks of an earlier process as soon as it has released them; returns when none are
    /// missing.
    pub async fn take_over(self: &Arc<Self>) {
        loop {
            let later = |(purpose, writes): (&Purpose, &Writes)| {
                matches!(writes, Writes::Later { .. }).then_some(*purpose)
            };
            let missing: Vec<Purpose> = self.purposes.lock().iter().filter_map(later).collect();
            if missing.is_empty() {
                return;
            }
            sleep(TAKE_OVER_TICK).await;
            for purpose in missing {
                let this = Arc::clone(self);
                // A panic there has been reported; the lock is tried again.
                let _ = self
                    .runtime
                    .spawn_blocking(move || this.try_take_over(purpose))
                    .await;
            }
        }
    }

    /// Takes one lock, if it is free. Waits for the disk.
    fn try_take_over(&self, purpose: Purpose) {
        let lock = match StateLock::take(&self.state, purpose) {
            Ok(lock) => lock,
            Err(NotLocked::Held { .. }) => return,
            Err(error) => return self.log_failure(&error),
        };
        // Reads what the other process has written since. If that fails, this process may not
        // write: the lock is released again.
        if purpose == Purpose::Serve
            && let Err(error) = self.registry.load()
        {
            return self.log_failure(&error);
        }
        self.begin(purpose, lock);
    }

    fn log_failure(&self, error: &dyn std::error::Error) {
        if let Some(line) = self.failures.count() {
            tracing::error!(
                left_out = line.left_out,
                "{error}; until then this process writes no state; trying again"
            );
        }
    }

    /// Starts to write, unless [`Writer::hand_over`] came first.
    fn begin(&self, purpose: Purpose, lock: StateLock) {
        let mut purposes = self.purposes.lock();
        let joins = match purposes.get_mut(&purpose) {
            Some(Writes::Later { joins }) => std::mem::take(joins),
            _ => return,
        };
        purposes.insert(purpose, Writes::Now { lock });
        if purpose == Purpose::Serve {
            self.registry.begin_writing();
        }
        drop(purposes);
        if purpose == Purpose::Serve {
            self.registry.save(&self.runtime);
        }
        for request in joins {
            if let Err(error) = self.prepare_join(&request) {
                tracing::error!(
                    "the join string of {} cannot be written: {error}",
                    request.listener
                );
            }
        }
        tracing::info!(
            "the earlier process has left: this one writes to {} now",
            self.state.display()
        );
    }

    /// Writes what the next process needs, and releases the locks to it. From now on no names are
    /// assigned.
    pub async fn hand_over(&self) {
        let released: Vec<Writes> = self
            .purposes
            .lock()
            .values_mut()
            .map(|writes| std::mem::replace(writes, Writes::NoMore))
            .collect();
        let locks: Vec<StateLock> = released
            .into_iter()
            .filter_map(|writes| match writes {
                Writes::Now { lock } => Some(lock),
                Writes::Later { .. } | Writes::NoMore => None,
            })
            .collect();
        if locks.is_empty() {
            return;
        }
        let registry = Arc::clone(&self.registry);
        // The locks are released after the last write, however long that takes.
        let written = self.runtime.spawn_blocking(move || {
            registry.end_writing();
            drop(locks);
        });
        let folder = self.state.display();
        // A disk that does not respond must not keep the node from ending.
        match timeout(HAND_OVER_PATIENCE, written).await {
            Ok(_) => tracing::debug!("the state folder {folder} is left to the next process"),
            Err(_) => tracing::warn!(
                "{folder} does not answer: the names were not written for the next process"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(state: &Path, runtime: &tokio::runtime::Runtime) -> Arc<Writer> {
        let registry = Arc::new(ServiceRegistry::new(state));
        let (events, _) = mpsc::unbounded_channel();
        Arc::new(Writer::new(
            state,
            runtime.handle().clone(),
            Grants::new(state),
            registry,
            events,
        ))
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn a_process_that_leaves_before_it_has_taken_over_never_writes() {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
        let earlier = StateLock::take(folder.path(), Purpose::Serve).unwrap();
        let writer = writer(folder.path(), &runtime);
        writer.lock_state(Purpose::Serve, true).unwrap();
        drop(earlier);
        // The lock was taken, and the node begins to shut down before that is recorded.
        let lock = StateLock::take(folder.path(), Purpose::Serve).unwrap();
        runtime.block_on(writer.hand_over());
        writer.begin(Purpose::Serve, lock);
        assert!(!writer.holds_lock(Purpose::Serve));
        StateLock::take(folder.path(), Purpose::Serve).unwrap();
    }

    #[test]
    fn names_that_cannot_be_read_at_take_over_are_logged_less_and_less_often() {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
        let earlier = StateLock::take(folder.path(), Purpose::Serve).unwrap();
        let writer = writer(folder.path(), &runtime);
        writer.lock_state(Purpose::Serve, true).unwrap();
        drop(earlier);
        std::fs::create_dir(folder.path().join("names")).unwrap();
        for _ in 0..64 {
            writer.try_take_over(Purpose::Serve);
        }
        let failures = writer.failures.count();
        assert_eq!(failures, None, "64 failures had a line each");
        assert!(!writer.holds_lock(Purpose::Serve));
        std::fs::remove_dir(folder.path().join("names")).unwrap();
        writer.try_take_over(Purpose::Serve);
        assert!(writer.holds_lock(Purpose::Serve));
    }

    #[test]
    fn a_lock_that_cannot_be_taken_is_reported() {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
        let earlier = StateLock::take(folder.path(), Purpose::Exit).unwrap();
        let writer = writer(folder.path(), &runtime);
        writer.lock_state(Purpose::Exit, true).unwrap();
        drop(earlier);
        std::fs::remove_file(folder.path().join("exit.lock")).unwrap();
        std::fs::create_dir(folder.path().join("exit.lock")).unwrap();
        for _ in 0..64 {
            writer.try_take_over(Purpose::Exit);
        }
        assert_eq!(
            writer.failures.count(),
            None,
            "the failures were not counted"
        );
    }
}
