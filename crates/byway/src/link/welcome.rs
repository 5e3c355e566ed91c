//! Welcome: accepts or refuses the hello of a connection that requests a session.
//!
//! In:    a received hello, and the purpose of its listener.
//! Out:   a session with permits; or a refusal with a sentence that says what to do.
//! Never: welcomes without a valid grant for that purpose, and never waits for the disk on a
//!        worker.

use std::fmt::Display;

use byway_link::{GrantId, LinkError, Pending, Refusal};

use super::Links;
use super::grants::{NotGood, Purpose};
use super::serving::WelcomedSession;
use crate::config::{LinkPlan, Serves};

/// Checks that the grant of a hello is valid and fits this listener. If so, the session gets
/// `permits`, if there are any.
///
/// # Errors
/// The reason of the refusal; the other side was informed.
pub async fn welcome<P, E: Display>(
    links: &Links,
    pending: Pending,
    plan: &LinkPlan,
    permits: impl FnOnce(GrantId) -> Result<P, E>,
) -> Result<(WelcomedSession, P), LinkError> {
    let hello = pending.hello();
    let (epoch, attempt) = (hello.epoch, hello.attempt);
    let (grants, runtime) = (&links.grants, links.runtime());
    let checked = match GrantId::from_slice(&hello.grant) {
        Some(id) => grants.check_on(runtime, id, &hello.secret).await,
        None => Err(NotGood::Unknown),
    };
    let grant = match checked {
        Ok(grant) => Some(grant),
        Err(NotGood::Unknown) => None,
        Err(NotGood::Unreadable(_)) => {
            links.engine.telemetry.counters.link_refused.add(1);
            let detail = "the server cannot read its grants at the moment; its log says why";
            return Err(pending.refuse(Refusal::Busy, detail).await);
        }
    };
    let Some(grant) = grant else {
        links.engine.telemetry.counters.link_refused.add(1);
        let detail = "the grant in the join string is not known here, or was revoked; ask for the current join string \
                      (it is in the file `join-serve` or `join-exit` of the state folder there)";
        return Err(pending.refuse(Refusal::Grant, detail).await);
    };
    let wanted = match plan.serves {
        Serves::Services { .. } => Purpose::Serve,
        Serves::Exit(_) => Purpose::Exit,
    };
    let asked = Purpose::from_number(pending.hello().purpose);
    if grant.purpose != wanted || asked != Some(wanted) {
        links.engine.telemetry.counters.link_refused.add(1);
        let detail = match wanted {
            Purpose::Serve => {
                "this join string is for a server of services (byway serve): join it with `byway http` or `byway tcp`"
            }
            Purpose::Exit => {
                "this join string is for an exit (byway proxy serve): join it with `byway proxy join`"
            }
        };
        return Err(pending.refuse(Refusal::Denied, detail).await);
    }
    let permits = match permits(grant.id) {
        Ok(permits) => permits,
        Err(why) => return Err(pending.refuse(Refusal::Busy, why.to_string()).await),
    };
    let (link, inbox) = pending.welcome().await?;
    Ok((
        WelcomedSession {
            link,
            inbox,
            grant,
            epoch,
            attempt,
        },
        permits,
    ))
}
