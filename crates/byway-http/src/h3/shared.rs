//! Shared: what the task of a connection and its streams have in common.
//!
//! Never: is locked while anything is awaited.

use std::collections::VecDeque;
use std::time::Instant;

use byway_h3::{Connection, ConnectionError, Cost, ErrorCode, Limits, Role};
use parking_lot::Mutex;
use quinn::{SendStream, VarInt};

/// The state of one connection.
pub(super) struct Shared {
    pub(super) quic: quinn::Connection,
    pub(super) limits: Limits,
    state: Mutex<State>,
}

/// What is behind the lock.
pub(super) struct State {
    /// The protocol.
    pub(super) core: Connection,
    /// Why this side has closed the connection.
    pub(super) failed: Option<ConnectionError>,
    /// The last streams whose responses are complete: the client may not have received them yet.
    pub(super) finished: VecDeque<SendStream>,
}

impl Shared {
    pub(super) fn new(quic: quinn::Connection, limits: Limits) -> Self {
        let core = Connection::new(Role::Server, limits.clone(), Instant::now());
        Self {
            quic,
            limits,
            state: Mutex::new(State {
                core,
                failed: None,
                finished: VecDeque::new(),
            }),
        }
    }

    /// Does something with the state.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.lock())
    }

    /// Closes the connection, and with it all streams, because of what the client did.
    pub(super) fn fail(&self, error: ConnectionError) {
        self.with(|state| state.failed.get_or_insert(error).code);
        self.quic.close(varint(error.code), error.reason.as_bytes());
    }

    /// Charges for what the client did.
    pub(super) fn charge(&self, cost: Cost, times: usize) {
        if times == 0 {
            return;
        }
        let charged = self.with(|state| state.core.charge(cost, times, Instant::now()));
        if let Err(error) = charged {
            self.fail(error);
        }
    }

    /// The work for a request has ended. `send`: its side of the stream, if the response is complete.
    pub(super) fn release(&self, send: Option<SendStream>) {
        let most = self.limits.streams as usize;
        self.with(|state| {
            state.core.released(send.is_some());
            if let Some(send) = send {
                if state.finished.len() >= most {
                    state.finished.pop_front();
                }
                state.finished.push_back(send);
            }
        });
    }
}

/// A code as quinn takes it.
pub(super) fn varint(code: ErrorCode) -> VarInt {
    VarInt::from_u64(code.0).unwrap_or_default()
}
