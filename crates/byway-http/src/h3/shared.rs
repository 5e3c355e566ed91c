//! Shared: what the task of a connection and its streams have in common.
//!
//! Never: is locked while anything is awaited.

use std::collections::VecDeque;
use std::time::Instant;

use byway_h3::{Connection, ConnectionError, Cost, ErrorCode, Limits, Role};
use parking_lot::Mutex;
use quinn::{SendStream, VarInt};

use crate::h2::{BudgetShare, BufferBudget, SPARED_BYTES};

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
    /// Bytes of text of heads and trailers of requests whose work has not ended.
    text: usize,
    budget: BudgetShare,
}

/// Most text of a connection; above it requests are refused. Exceeded by one head at most.
const TEXT_BYTES: usize = 1024 * 1024;

impl Shared {
    pub(super) fn new(quic: quinn::Connection, limits: Limits, budget: BufferBudget) -> Self {
        let core = Connection::new(Role::Server, limits.clone(), Instant::now());
        Self {
            quic,
            limits,
            state: Mutex::new(State {
                core,
                failed: None,
                finished: VecDeque::new(),
                text: 0,
                budget: BudgetShare::of(budget),
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

    /// Counts text of a head or of trailers until the work for its request has ended. Returns false,
    /// and counts nothing, if the connection holds too much for it.
    pub(super) fn hold_text(&self, bytes: usize) -> bool {
        let cost = self.with(|state| {
            if state.text > TEXT_BYTES {
                return Some(Cost::Refused);
            }
            if state.text > SPARED_BYTES && state.budget.is_exceeded() {
                // The client cannot know what the node holds of others.
                return Some(Cost::Waste);
            }
            state.text += bytes;
            state.budget.set(state.text);
            None
        });
        if let Some(cost) = cost {
            self.charge(cost, 1);
        }
        cost.is_none()
    }

    /// The work for a request has ended. `send`: its side of the stream, if the response is complete;
    /// `earns`: whether that was useful work; `text`: what it has counted by
    /// [`hold_text`](Self::hold_text).
    pub(super) fn release(&self, send: Option<SendStream>, earns: bool, text: usize) {
        let most = self.limits.streams as usize;
        self.with(|state| {
            state.core.released(earns && send.is_some());
            state.text -= text;
            state.budget.set(state.text);
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
