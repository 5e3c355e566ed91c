//! Leaves: the certificates of the local authority that are in use, in the store of a node.
//!
//! In:    names that clients ask for, the time.
//! Out:   certificates in the store, replaced at half of their life.
//! Never: more than [`MOST_LOCAL_NAMES`]; a name outside the constraints.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::{LEAF_LIFE, LocalAuthority, LocalAuthorityError};
use crate::name;
use crate::on_demand::OnDemand;
use crate::store::{CertificateStore, Entry, Provider, SourceId};

/// The most names with a certificate of the local authority. A further one takes the place of the
/// one that was issued first.
pub const MOST_LOCAL_NAMES: usize = 1000;

/// Certificates of a local authority in a store.
pub struct LocalCertificates {
    authority: LocalAuthority,
    store: Arc<CertificateStore>,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// When each was issued.
    issued: Mutex<HashMap<Box<str>, SystemTime>>,
}

impl LocalCertificates {
    /// Certificates of `authority`, installed in `store`.
    pub fn new(
        authority: LocalAuthority,
        store: Arc<CertificateStore>,
        clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    ) -> Self {
        Self {
            authority,
            store,
            clock,
            issued: Mutex::default(),
        }
    }

    /// The authority.
    pub fn authority(&self) -> &LocalAuthority {
        &self.authority
    }

    /// Issues and installs a certificate for a name. That for `localhost` also serves clients that
    /// send no name, as those do that connect to an address.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`].
    pub fn install(&self, host: &str) -> Result<(), LocalAuthorityError> {
        let host = name::normal(host);
        let now = (self.clock)();
        let entry = Entry {
            is_default: host == "localhost",
            ..Entry::new(self.authority.certificate(&host, now)?)
        };
        let mut issued = self.issued.lock();
        if issued.len() >= MOST_LOCAL_NAMES && !issued.contains_key(&*host) {
            let first = issued.iter().min_by_key(|(_, at)| **at);
            if let Some(first) = first.map(|(name, _)| name.clone()) {
                issued.remove(&first);
                self.store.remove(id(&first));
            }
        }
        issued.insert((&*host).into(), now);
        self.store.install(id(&host), entry);
        Ok(())
    }

    /// Replaces the certificates whose half life is over, or that are not valid yet because the
    /// clock was set back. Call it every few minutes.
    pub fn renew_due(&self) {
        let now = (self.clock)();
        let is_due = |at: SystemTime| match now.duration_since(at) {
            Ok(age) => age >= LEAF_LIFE / 2,
            Err(_) => true,
        };
        let due: Vec<Box<str>> = {
            let issued = self.issued.lock();
            let due = issued.iter().filter(|(_, at)| is_due(**at));
            due.map(|(name, _)| name.clone()).collect()
        };
        for name in due {
            if let Err(error) = self.install(&name) {
                tracing::warn!(name = &*name, %error, "cannot renew a certificate of the local authority");
            }
        }
    }
}

fn id(name: &str) -> SourceId {
    SourceId::new(Provider::Local, name)
}

impl OnDemand for LocalCertificates {
    fn obtain<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            if self.authority.permits(name)
                && let Err(error) = self.install(name)
            {
                tracing::warn!(name, %error, "no certificate of the local authority");
            }
        })
    }
}
