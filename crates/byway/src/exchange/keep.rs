//! Keep: whether an upstream's connection may be used again, and for how long it may be idle.
//!
//! In:    the head of its last answer, and how that answer is framed.
//! Out:   no; or yes, within what the upstream has asked for.
//! Never: trusts a hint for longer than we would wait ourselves.

use std::time::Duration;

use byway_h1::{Framed, Response};

/// `None`: close it. `Some(idle)`: keep it, for as long as the upstream's hint allows.
pub fn keep_upstream(response: &Response<'_>, framed: Framed) -> Option<Option<Duration>> {
    (response.keep_alive() && framed != Framed::UntilClose).then(|| keep_alive_hint(response))
}

/// `Keep-Alive: timeout=N`, less a second for the time that our next request is on its way (in any order with `max`).
fn keep_alive_hint(response: &Response<'_>) -> Option<Duration> {
    let hint = std::str::from_utf8(response.field("Keep-Alive")?).ok()?;
    let seconds = hint.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse::<u64>().ok())?
    })?;
    Some(Duration::from_secs(seconds.saturating_sub(1)).min(LONGEST_HINT))
}

/// No hint keeps a connection longer than this.
const LONGEST_HINT: Duration = Duration::from_secs(600);
