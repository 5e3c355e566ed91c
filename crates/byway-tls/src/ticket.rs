//! Ticket: session tickets that any worker, any generation and any node with the same secret can
//! open (RFC 5077, RFC 8446 section 4.6.1).
//!
//! In:    the master secret, a policy of client authentication, the time.
//! Out:   sealed session states, and those that come back.
//! Never: opens a ticket of another policy, so that a session without a client certificate cannot
//!        be resumed where one is required; keeps any state of a session.

mod secret;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

pub use secret::{SecretError, TicketSecret};

/// How long tickets are sealed with one key. They are opened in this epoch and the next one, and in
/// the one before for nodes whose clocks differ.
pub const EPOCH: Duration = Duration::from_secs(6 * 3600);

/// The longest ticket that is opened, in bytes: a session with a chain of client certificates fits.
pub const MOST_TICKET_BYTES: usize = 32 * 1024;

/// At the front of a ticket: which key has sealed it.
const KEY_ID_LEN: usize = 8;
const TAG_LEN: usize = 16;

/// Seals and opens the tickets of one policy. All of its keys follow from the secret, the time and
/// the policy, so it has no state to share.
pub struct Ticketer {
    secret: TicketSecret,
    policy: Box<[u8]>,
    clock: fn() -> SystemTime,
    keys: ArcSwap<Keys>,
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticketer")
    }
}

impl Ticketer {
    /// For sessions under `policy`: bytes that are equal only if a session of one may be resumed
    /// under the other.
    pub fn new(secret: &TicketSecret, policy: &[u8]) -> Self {
        Self::with_clock(secret, policy, SystemTime::now)
    }

    /// As [`Ticketer::new`], with another clock.
    pub fn with_clock(secret: &TicketSecret, policy: &[u8], clock: fn() -> SystemTime) -> Self {
        let keys = Keys::of(secret, policy, epoch_of(clock()));
        Self {
            secret: secret.clone(),
            policy: policy.into(),
            clock,
            keys: ArcSwap::from_pointee(keys),
        }
    }

    /// The keys of this epoch, derived when the first ticket of an epoch is sealed or opened. Two
    /// threads may derive the same keys at once.
    fn keys(&self) -> arc_swap::Guard<Arc<Keys>> {
        let epoch = epoch_of((self.clock)());
        let keys = self.keys.load();
        if keys.epoch == epoch {
            return keys;
        }
        self.keys
            .store(Arc::new(Keys::of(&self.secret, &self.policy, epoch)));
        self.keys.load()
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        EPOCH.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys().current.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MOST_TICKET_BYTES {
            return None;
        }
        let keys = self.keys();
        let all = [&keys.current, &keys.last, &keys.next];
        all.into_iter()
            .find(|key| ticket.starts_with(&key.id))?
            .open(ticket)
    }
}

fn epoch_of(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / EPOCH.as_secs()
}

/// The keys that a ticketer uses in one epoch.
struct Keys {
    epoch: u64,
    last: Key,
    current: Key,
    next: Key,
}

impl Keys {
    fn of(secret: &TicketSecret, policy: &[u8], epoch: u64) -> Self {
        let key = |epoch| Key::of(secret, policy, epoch);
        Self {
            epoch,
            last: key(epoch.wrapping_sub(1)),
            current: key(epoch),
            next: key(epoch.wrapping_add(1)),
        }
    }
}

/// The key of one epoch and policy, with the id that its tickets begin with.
struct Key {
    id: [u8; KEY_ID_LEN],
    aead: Option<LessSafeKey>,
}

impl Key {
    fn of(secret: &TicketSecret, policy: &[u8], epoch: u64) -> Self {
        let prk = Salt::new(HKDF_SHA256, b"byway session tickets").extract(secret.bytes());
        let epoch = epoch.to_be_bytes();
        let mut id = [0; KEY_ID_LEN];
        let mut key = [0; 32];
        let derived = expand(&prk, [b"id", &epoch, policy], &mut id)
            .and_then(|()| expand(&prk, [b"key", &epoch, policy], &mut key))
            .and_then(|()| UnboundKey::new(&AES_256_GCM, &key));
        let aead = derived.ok().map(LessSafeKey::new);
        Self { id, aead }
    }

    /// Key id, nonce, sealed bytes, tag.
    ///
    /// The nonce is random: one key may seal 2^32 tickets (NIST SP 800-38D), 198,000 a second for
    /// an epoch.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(KEY_ID_LEN + NONCE_LEN + plain.len() + TAG_LEN);
        ticket.extend_from_slice(&self.id);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let sealed = ticket.get_mut(KEY_ID_LEN + NONCE_LEN..)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aead = self.aead.as_ref()?;
        let tag = aead.seal_in_place_separate_tag(nonce, Aad::from(self.id), sealed);
        ticket.extend_from_slice(tag.ok()?.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.get(KEY_ID_LEN..)?.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let aead = self.aead.as_ref()?;
        let plain = aead
            .open_in_place(nonce, Aad::from(self.id), &mut bytes)
            .ok()?
            .len();
        bytes.truncate(plain);
        Some(bytes)
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand (RFC 5869). The parts before the last one have fixed lengths per purpose.
fn expand(
    prk: &Prk,
    info: [&[u8]; 3],
    out: &mut [u8],
) -> Result<(), aws_lc_rs::error::Unspecified> {
    prk.expand(&info, Length(out.len()))?.fill(out)
}

#[cfg(test)]
mod tests;
