//! Metrics of TLS: handshakes by version and by failure, and when certificates expire.
//!
//! Never: a label that a peer chooses: versions and reasons are fixed.

use std::time::UNIX_EPOCH;

use byway_tls::acme::{FailureKind, Keeper};
use byway_tls::{HandshakeError, Session};

use super::NodeTls;
use crate::observe::counters::Counter;
use crate::observe::exposition::{Collect, Exposition, MetricKind};

/// How many certificates are named in the metrics; of more, those that expire first.
const MOST_CERTIFICATES: usize = 100;

/// The labels of handshakes: version, and whether a session was resumed.
const KINDS: [(&str, &str); 4] = [
    ("TLSv1.2", "false"),
    ("TLSv1.2", "true"),
    ("TLSv1.3", "false"),
    ("TLSv1.3", "true"),
];

/// What handshakes have come to.
#[derive(Debug, Default)]
pub struct TlsMetrics {
    done: [Counter; KINDS.len()],
    failed: [Counter; HandshakeError::WORDS.len()],
}

impl TlsMetrics {
    /// A handshake is complete.
    pub fn done(&self, session: &Session) {
        let resumed = if session.is_resumed() {
            "true"
        } else {
            "false"
        };
        let kind = (session.version_word(), resumed);
        let mut counters = KINDS.iter().zip(&self.done);
        if let Some((_, counter)) = counters.find(|(known, _)| **known == kind) {
            counter.add(1);
        }
    }

    /// A handshake has failed for this reason, one of [`HandshakeError::WORDS`].
    pub fn failed(&self, word: &str) {
        let mut counters = HandshakeError::WORDS.iter().zip(&self.failed);
        if let Some((_, counter)) = counters.find(|(known, _)| **known == word) {
            counter.add(1);
        }
    }
}

impl Collect for NodeTls {
    fn collect(&self, out: &mut Exposition) {
        let help = "TLS handshakes of clients that succeeded, by version and whether a session was resumed.";
        let labels = ["version", "resumed"];
        let mut family = out.family(
            "byway_tls_handshakes_total",
            MetricKind::Counter,
            labels,
            help,
        );
        for ((version, resumed), counter) in KINDS.iter().zip(&self.metrics.done) {
            family.sample([version, resumed], counter.value());
        }
        let help = "TLS handshakes of clients that failed, by reason.";
        let name = "byway_tls_handshakes_failed_total";
        let mut family = out.family(name, MetricKind::Counter, ["reason"], help);
        for (reason, counter) in HandshakeError::WORDS.iter().zip(&self.metrics.failed) {
            family.sample([reason], counter.value());
        }
        if let Some(authorities) = self.authorities() {
            collect_authorities(authorities.keeper(), out);
        }
        let mut all = self.store.all();
        all.sort_by_key(|covered| covered.not_after());
        let help = "When a certificate expires, in seconds since 1970; those that expire first.";
        let name = "byway_certificate_expiry_timestamp_seconds";
        let mut family = out.family(name, MetricKind::Gauge, ["source", "certificate"], help);
        for covered in all.iter().take(MOST_CERTIFICATES) {
            let since = covered
                .not_after()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let source = &covered.source;
            family.sample([source.provider.word(), &source.id], since.as_secs());
        }
    }
}

/// What the keeper of certificates from authorities has to say.
fn collect_authorities(keeper: &Keeper, out: &mut Exposition) {
    let help = "Certificates that were obtained from ACME authorities.";
    let name = "byway_acme_certificates_obtained_total";
    let mut family = out.family(name, MetricKind::Counter, [], help);
    family.sample([], keeper.counts().issued());
    let help = "Requests for certificates that failed, by kind.";
    let name = "byway_acme_failures_total";
    let mut family = out.family(name, MetricKind::Counter, ["kind"], help);
    for kind in FailureKind::ALL {
        family.sample([kind.word()], keeper.counts().failed(kind));
    }
    let status = keeper.status();
    let missing = status.iter().filter(|one| one.validity.is_none()).count();
    let help = "Names that have no certificate of their ACME authority yet.";
    let mut family = out.family("byway_acme_missing", MetricKind::Gauge, [], help);
    family.sample([], missing as u64);
    let help = "Failures since the last success, of names whose last request failed.";
    let name = "byway_acme_failures_in_a_row";
    let mut family = out.family(name, MetricKind::Gauge, ["name"], help);
    let failing = status.iter().filter(|one| one.failures > 0);
    for one in failing.take(MOST_CERTIFICATES) {
        family.sample([one.name.as_str()], u64::from(one.failures));
    }
    let help = "When a certificate is requested again after a failure, in seconds since 1970.";
    let name = "byway_acme_next_try_timestamp_seconds";
    let mut family = out.family(name, MetricKind::Gauge, ["name"], help);
    let failing = status.iter().filter(|one| one.failures > 0);
    for one in failing.take(MOST_CERTIFICATES) {
        let at = one
            .next_try
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        family.sample([one.name.as_str()], at.unwrap_or_default().as_secs());
    }
}
