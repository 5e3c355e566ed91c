//! Fair budget: the bytes that the windows of streams may take, divided by grant, client and stream.
//!
//! In:    takes and gives of one stream, the client that it is for, the purpose.
//! Out:   whether the stream may have that much.
//! Never: lets one grant, one client of a carrier, or one stream of a client use up what the others
//!        need, whether it reads what it was granted or not.
//!
//! Budgets are nested: the node, the share of a grant, a carrier. One rule holds at each level: **a
//! part is at most as large as what remains free.** So a grant has at most half of the node's
//! budget, a client at most half of what its grant and its carrier may have, and a stream half of
//! what its client may have, if they are alone; the next one has at most half of the rest. A paused
//! reader keeps what it has taken, so a rule that counts on taking something back would not hold.
//!
//! Early credit and growth are separate: streams that were opened and never used cannot take what
//! streams grow by, and streams that have grown cannot take the early credit of new ones.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::client_key::ClientKey;

/// Streams that were not used yet may have this part of what then remains free: of early credit, 4.8
/// MiB of the 12 MiB that one client of a carrier can have.
const UNUSED_PART: u64 = 4;

/// What bytes are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A wider window for a stream that is wanted.
    Early,
    /// A wider window for a stream that is read quickly.
    Growth,
}

impl Purpose {
    pub(crate) const ALL: [Self; 2] = [Self::Early, Self::Growth];
}

/// A number of bytes for each purpose.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For streams that have just been opened.
    pub early_bytes: u64,
    /// For streams that are read quickly.
    pub growth_bytes: u64,
}

impl Limits {
    /// No bytes: every window keeps its first size.
    pub const NONE: Self = Self::both(0);

    /// The same number for both.
    pub const fn both(bytes: u64) -> Self {
        Self {
            early_bytes: bytes,
            growth_bytes: bytes,
        }
    }

    const fn of(self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Early => self.early_bytes,
            Purpose::Growth => self.growth_bytes,
        }
    }
}

/// The budget of a node, of a grant, or of a carrier.
#[derive(Debug)]
pub struct FairBudget {
    level: Level,
    early: Mutex<Taken>,
    growth: Mutex<Taken>,
}

#[derive(Debug)]
enum Level {
    Node(Limits),
    /// Limited only by what remains free in the node's budget.
    Grant(Arc<FairBudget>),
    /// Until it belongs to a grant, nothing can be taken.
    Carrier(Limits, OnceLock<Arc<FairBudget>>),
}

#[derive(Debug, Default)]
struct Taken {
    bytes: u64,
    /// Only clients that have taken some.
    by_client: HashMap<ClientKey, u64>,
}

/// What is left after a take: free bytes, how many are taken, and how many the client has now.
struct Left {
    free: u64,
    used: u64,
    of_client: u64,
}

impl FairBudget {
    fn new(level: Level) -> Arc<Self> {
        Arc::new(Self {
            level,
            early: Mutex::default(),
            growth: Mutex::default(),
        })
    }

    /// The budget of a node.
    pub fn node(limits: Limits) -> Arc<Self> {
        Self::new(Level::Node(limits))
    }

    /// The share of a grant of `node`.
    pub(crate) fn grant(node: &Arc<Self>) -> Arc<Self> {
        Self::new(Level::Grant(Arc::clone(node)))
    }

    /// The budget of a carrier that belongs to no session yet: nothing can be taken before
    /// [`FairBudget::assign`].
    pub(crate) fn carrier(limits: Limits) -> Arc<Self> {
        Self::new(Level::Carrier(limits, OnceLock::new()))
    }

    /// Makes the budget of a carrier a part of a grant's. Only the first call has an effect.
    pub(crate) fn assign(&self, grant: &Arc<Self>) {
        if let Level::Carrier(_, unassigned) = &self.level {
            unassigned.get_or_init(|| Arc::clone(grant));
        }
    }

    /// Takes `bytes` for a stream of `client` that has taken `own` for this purpose before, if that
    /// leaves enough for other streams, clients and grants.
    pub(crate) fn take(&self, purpose: Purpose, client: ClientKey, own: u64, bytes: u64) -> bool {
        // The streams of a client share what it may have.
        let is_fair = |left: &Left| own + bytes <= left.free.saturating_sub(left.of_client) / 2;
        self.take_if(purpose, client, bytes, is_fair, |_| true)
            .is_some()
    }

    /// Takes `bytes` of early credit for a stream that was not used yet: only while its client has
    /// little of it, and at each level at least as much is free as is taken. What unused streams
    /// take together therefore leaves half to those that are used.
    pub(crate) fn take_unused(&self, client: ClientKey, bytes: u64) -> bool {
        let is_plenty =
            |left: &Left| left.of_client <= left.free / UNUSED_PART && left.used <= left.free;
        self.take_if(Purpose::Early, client, bytes, is_plenty, is_plenty)
            .is_some()
    }

    /// Takes `bytes` here and in all outer budgets, if what is then left is fair to the client, and
    /// by `here` and `outside`. Returns what is free.
    fn take_if(
        &self,
        purpose: Purpose,
        client: ClientKey,
        bytes: u64,
        here: impl Fn(&Left) -> bool,
        outside: fn(&Left) -> bool,
    ) -> Option<u64> {
        let outer = match &self.level {
            Level::Node(_) => None,
            Level::Grant(node) => Some(node),
            Level::Carrier(_, grant) => Some(grant.get()?),
        };
        let outer_free = match outer {
            Some(outer) => outer.take_if(purpose, client, bytes, outside, outside)?,
            None => u64::MAX,
        };
        let free = self.take_here(purpose, client, bytes, outer_free, here);
        if free.is_none()
            && let Some(outer) = outer
        {
            outer.give(purpose, client, bytes);
        }
        free
    }

    fn take_here(
        &self,
        purpose: Purpose,
        client: ClientKey,
        bytes: u64,
        outer_free: u64,
        is_fair: impl Fn(&Left) -> bool,
    ) -> Option<u64> {
        let mut taken = self.taken(purpose).lock();
        let used = taken.bytes.checked_add(bytes)?;
        let free = match &self.level {
            Level::Node(limits) => limits.of(purpose).checked_sub(used)?,
            // The grant has at most what remains free beside it, and each further byte makes the one
            // larger and the other smaller.
            Level::Grant(_) => outer_free.checked_sub(used)? / 2,
            Level::Carrier(limits, _) => limits.of(purpose).checked_sub(used)?.min(outer_free),
        };
        let counts = self.counts(client);
        let of_client = taken.by_client.get(&client).copied().unwrap_or_default() + bytes;
        if counts && of_client > free
            || !is_fair(&Left {
                free,
                used,
                of_client,
            })
        {
            return None;
        }
        taken.bytes = used;
        if counts {
            taken.by_client.insert(client, of_client);
        }
        Some(free)
    }

    /// Gives back bytes that were taken for `client`.
    pub(crate) fn give(&self, purpose: Purpose, client: ClientKey, bytes: u64) {
        let mut taken = self.taken(purpose).lock();
        taken.bytes = taken.bytes.saturating_sub(bytes);
        taken.add(client, 0, bytes);
        drop(taken);
        if let Some(outer) = self.outer() {
            outer.give(purpose, client, bytes);
        }
    }

    /// Counts `bytes` that `from` has taken for `to` from now on, who may have more then than it
    /// could take.
    pub(crate) fn move_to(&self, purpose: Purpose, from: ClientKey, to: ClientKey, bytes: u64) {
        let mut taken = self.taken(purpose).lock();
        taken.add(from, 0, bytes);
        if self.counts(to) {
            taken.add(to, bytes, 0);
        }
        drop(taken);
        if let Some(outer) = self.outer() {
            outer.move_to(purpose, from, to, bytes);
        }
    }

    /// How many bytes are taken, for both purposes.
    pub fn used(&self) -> u64 {
        self.early.lock().bytes + self.growth.lock().bytes
    }

    /// How many bytes `client` has taken here, for both purposes.
    #[cfg(test)]
    pub(crate) fn used_by(&self, client: ClientKey) -> u64 {
        let of = |taken: &Mutex<Taken>| taken.lock().by_client.get(&client).copied();
        of(&self.early).unwrap_or_default() + of(&self.growth).unwrap_or_default()
    }

    /// Streams without a client are one client of their grant, and not of their node.
    fn counts(&self, client: ClientKey) -> bool {
        client != ClientKey::UNKNOWN || !matches!(self.level, Level::Node(_))
    }

    fn taken(&self, purpose: Purpose) -> &Mutex<Taken> {
        match purpose {
            Purpose::Early => &self.early,
            Purpose::Growth => &self.growth,
        }
    }

    fn outer(&self) -> Option<&Arc<Self>> {
        match &self.level {
            Level::Node(_) => None,
            Level::Grant(node) => Some(node),
            Level::Carrier(_, grant) => grant.get(),
        }
    }
}

impl Taken {
    /// Changes what is counted for `client`, if it is counted here.
    fn add(&mut self, client: ClientKey, more: u64, less: u64) {
        let bytes = self.by_client.get(&client).copied().unwrap_or_default();
        match (bytes + more).saturating_sub(less) {
            0 => drop(self.by_client.remove(&client)),
            bytes => drop(self.by_client.insert(client, bytes)),
        }
    }
}

#[cfg(test)]
mod tests;
