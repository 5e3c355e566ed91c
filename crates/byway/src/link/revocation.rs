//! Revocation: notices within a second that a grant was revoked, and removes all that it allowed.
//!
//! In:    the grants whose sessions or names this node has.
//! Out:   ends their sessions, frees their names, closes their ports, refuses their visitors; and
//!        retries a failed write of the names.
//! Never: removes anything because a file or the folder cannot be read.

use std::time::Duration;

use byway_link::GrantId;
use tokio::time::{MissedTickBehavior, interval};

use super::Links;
use super::grants::Standing;
use super::port_opener::PortOpener;
use crate::outbound::pooled::PoolKey;

/// How often the grants in use are checked: one call of `stat` for each.
const TICK: Duration = Duration::from_millis(500);

/// How often the names are written even without changes, so that after a crash held names do not
/// look as if they had been unused since their last change.
const TICKS_A_WRITE: u64 = 6 * 3600 * 1000 / 500;

/// Watches for as long as it is polled.
pub async fn watch(links: &Links, ports: &dyn PortOpener) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1_u64.. {
        tick.tick().await;
        if links.registry.is_retry_due() {
            links.registry.save(links.runtime());
        }
        let tenants = links.registry.tenants();
        if tenants.is_empty() {
            continue;
        }
        if number.is_multiple_of(TICKS_A_WRITE) {
            links.registry.save(links.runtime());
        }
        let grants = links.grants.clone();
        let look = move || {
            tenants
                .into_iter()
                .map(|id| (id, grants.standing(id)))
                .collect::<Vec<_>>()
        };
        // A disk that does not respond is waited for: until then the state of a grant is unknown.
        let Ok(looked) = links.runtime().spawn_blocking(look).await else {
            continue;
        };
        for (id, standing) in looked {
            match standing {
                Standing::Good => {}
                Standing::Revoked => take_away(links, ports, id),
            }
        }
    }
}

fn take_away(links: &Links, ports: &dyn PortOpener, id: GrantId) {
    let names = links.registry.revoke(id);
    for name in &names {
        ports.close(name);
        links.engine.pool.evict_key(&PoolKey::Service(name.clone()));
    }
    if !names.is_empty() {
        links.registry.save_changes(links.runtime());
    }
    tracing::info!(grant = %id, "the grant was revoked: its sessions have ended, {} names are free", names.len());
}
