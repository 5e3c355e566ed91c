//! Log: log lines about the carriers of a link: which are attached, which answer, and which new
//! streams use.
//!
//! In:    each change of a carrier or of the preference.
//! Out:   a line with the address and the key of the peer.
//! Never: logs every change of a path that flaps: after [`FIRST_OF_A_LINK`] lines of one link, or
//!        [`FIRST_OF_ALL`] of all links, ever fewer are written.

use std::fmt;

use super::Link;
use crate::carrier::CarrierKind;
use crate::log_limit::LogLimit;

/// Lines of one link before they are thinned out.
const FIRST_OF_A_LINK: u64 = 50;

/// The same for all links of the process.
const FIRST_OF_ALL: u64 = 2000;

static ALL: LogLimit = LogLimit::with_first(FIRST_OF_ALL);

/// The lines of one link.
#[derive(Debug)]
pub(super) struct Lines(LogLimit);

impl Default for Lines {
    fn default() -> Self {
        Self(LogLimit::with_first(FIRST_OF_A_LINK))
    }
}

impl Link {
    /// Writes a log line, unless the limit of this link or of all links leaves it out.
    pub(crate) fn log(&self, text: impl fmt::Display) {
        let Some(own) = self.0.lines.0.count() else {
            return;
        };
        let Some(all) = ALL.count() else { return };
        let left_out =
            Some(own.left_out.unwrap_or(0) + all.left_out.unwrap_or(0)).filter(|count| *count > 0);
        let peer = self.peer_addr().map(tracing::field::display);
        tracing::info!(peer, identity = self.peer().short(), left_out, "{text}");
    }

    /// Logs each change of the carriers since `seen`, until the session ends.
    pub(super) async fn log_changes(self, mut seen: Choice) {
        let mut changes = self.0.preference.changes.subscribe();
        let saying = async {
            loop {
                let now = Choice::of(&self);
                now.lines_since(&seen)
                    .iter()
                    .for_each(|line| self.log(line));
                seen = now;
                // `self` keeps the sender alive.
                let _ = changes.changed().await;
            }
        };
        tokio::select! {
            () = saying => {}
            _ = self.ended() => {}
        }
    }
}

/// One carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct One {
    number: u64,
    kind: CarrierKind,
    is_silent: bool,
}

/// The carriers of a link, and which one new streams use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    carriers: Vec<One>,
    best: Option<u64>,
    prefers_tls: bool,
    peer_prefers_tls: bool,
}

impl Choice {
    pub(super) fn of(link: &Link) -> Self {
        let best = link.best().map(|best| best.number);
        let (prefers_tls, peer_prefers_tls) = link.0.preference.preferences();
        let carriers = link.0.carriers.lock();
        let one = |attached: &super::carriers::AttachedCarrier| One {
            number: attached.number,
            kind: attached.carrier.kind(),
            is_silent: attached.ping_control.is_overdue(),
        };
        Self {
            carriers: carriers.attached.iter().map(one).collect(),
            best,
            prefers_tls,
            peer_prefers_tls,
        }
    }

    fn get(&self, number: u64) -> Option<One> {
        self.carriers
            .iter()
            .copied()
            .find(|one| one.number == number)
    }

    fn best(&self) -> Option<One> {
        self.get(self.best?)
    }

    fn lines_since(&self, before: &Self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .carriers
            .iter()
            .filter_map(|one| match before.get(one.number) {
                None => self.attached(one),
                Some(then) if then.is_silent == one.is_silent => None,
                Some(_) if one.is_silent => Some(self.silent(one)),
                Some(_) => Some(format!("{} answers again{}", one.kind, self.use_of(one))),
            })
            .collect();
        let kinds = self.best().zip(before.best());
        let is_peers = self.peer_prefers_tls != before.peer_prefers_tls
            && self.prefers_tls == before.prefers_tls;
        if let Some((now, _)) =
            kinds.filter(|(now, then)| lines.is_empty() && is_peers && now.kind != then.kind)
        {
            lines.push(format!(
                "new streams use {}: the other side has measured it",
                now.kind
            ));
        }
        lines
    }

    /// The line for a new carrier. A trial by this side is logged by the measuring task, with its
    /// reason.
    fn attached(&self, one: &One) -> Option<String> {
        let kind = one.kind;
        let other = self.carriers.iter().find(|other| other.kind != kind);
        match other {
            Some(other) if other.is_silent => Some(format!(
                "{kind} is attached, as {} does not answer{}",
                other.kind,
                self.use_of(one)
            )),
            Some(_) if kind == CarrierKind::Tls && self.prefers_tls => None,
            Some(_) if kind == CarrierKind::Tls && self.peer_prefers_tls => Some(
                "tls is attached beside quic, for a trial: the other side has measured loss"
                    .to_owned(),
            ),
            _ => Some(format!("{kind} is attached{}", self.use_of(one))),
        }
    }

    fn silent(&self, one: &One) -> String {
        match self.best().filter(|best| !best.is_silent) {
            Some(best) if best.kind != one.kind => {
                format!(
                    "{} does not answer: new streams use {}",
                    one.kind, best.kind
                )
            }
            Some(_) => format!(
                "{} does not answer: new streams use another connection",
                one.kind
            ),
            None => format!("{} does not answer", one.kind),
        }
    }

    fn use_of(&self, one: &One) -> String {
        if self.best == Some(one.number) {
            format!(": new streams use {}", one.kind)
        } else {
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIC: One = One {
        number: 1,
        kind: CarrierKind::Quic,
        is_silent: false,
    };
    const TLS: One = One {
        number: 2,
        kind: CarrierKind::Tls,
        is_silent: false,
    };

    fn choice(carriers: &[One], best: u64) -> Choice {
        Choice {
            carriers: carriers.to_vec(),
            best: Some(best),
            ..Choice::default()
        }
    }

    fn silent(one: One) -> One {
        One {
            is_silent: true,
            ..one
        }
    }

    #[test]
    fn a_change_from_silent_quic_to_tls_is_logged() {
        let (both, without) = (choice(&[QUIC, TLS], 1), choice(&[silent(QUIC), TLS], 2));
        assert_eq!(
            without.lines_since(&both),
            ["quic does not answer: new streams use tls"]
        );
        assert_eq!(
            both.lines_since(&without),
            ["quic answers again: new streams use quic"]
        );
        assert_eq!(
            choice(&[TLS], 2).lines_since(&without),
            [""; 0],
            "the end has a line with its reason"
        );
        let (alone, nothing) = (choice(&[QUIC], 1), choice(&[silent(QUIC)], 1));
        assert_eq!(nothing.lines_since(&alone), ["quic does not answer"]);
        assert_eq!(
            without.lines_since(&nothing),
            ["tls is attached, as quic does not answer: new streams use tls"]
        );
    }

    #[test]
    fn a_carrier_was_logged_as_in_use_when_it_was_attached() {
        let (quic, tls) = (choice(&[QUIC], 1), choice(&[TLS], 2));
        assert_eq!(
            choice(&[QUIC, TLS], 1).lines_since(&quic),
            ["tls is attached"]
        );
        assert_eq!(
            choice(&[TLS, QUIC], 1).lines_since(&tls),
            ["quic is attached: new streams use quic"]
        );
        let trial = Choice {
            peer_prefers_tls: true,
            ..choice(&[QUIC, TLS], 2)
        };
        let line = "tls is attached beside quic, for a trial: the other side has measured loss";
        assert_eq!(trial.lines_since(&quic), [line]);
        assert_eq!(
            trial.lines_since(&choice(&[QUIC, TLS], 1)),
            ["new streams use tls: the other side has measured it"]
        );
        let own = Choice {
            prefers_tls: true,
            peer_prefers_tls: false,
            ..trial
        };
        assert_eq!(
            own.lines_since(&quic),
            [""; 0],
            "the measuring task logs it"
        );
        assert_eq!(own.lines_since(&own), [""; 0]);
    }

    #[test]
    fn a_path_that_flaps_does_not_fill_the_log() {
        let lines = Lines::default();
        let control = (0..100_000).filter(|_| lines.0.count().is_some()).count();
        assert!(control < 70, "{control} lines");
    }
}
