//! Challenge: how an authority checks that a name leads here, and what answers it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{ChallengeHandle, ChallengeType};
use parking_lot::Mutex;

use super::Clock;
use super::dns::{Change, Dns};
use super::failure::{Failure, FailureKind};
use super::http_answers::{HttpAnswer, HttpAnswers};
use super::tls_alpn;
use crate::challenge::{ChallengeGuard, Challenges};

/// Which check to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChallengeKind {
    /// DNS-01 if there is a way to set records; else TLS-ALPN-01 and HTTP-01 in turn.
    #[default]
    Auto,
    /// A request to port 80.
    Http01,
    /// A handshake on port 443.
    TlsAlpn01,
    /// A TXT record. The only one for wildcards.
    Dns01,
}

impl ChallengeKind {
    /// The types of challenge to use, the preferred first. `failures` makes `Auto` alternate.
    pub(crate) fn types(self, has_dns: bool, failures: u32) -> Vec<ChallengeType> {
        match self {
            Self::Http01 => vec![ChallengeType::Http01],
            Self::TlsAlpn01 => vec![ChallengeType::TlsAlpn01],
            Self::Dns01 => vec![ChallengeType::Dns01],
            Self::Auto if has_dns => vec![ChallengeType::Dns01],
            Self::Auto if failures.is_multiple_of(2) => {
                vec![ChallengeType::TlsAlpn01, ChallengeType::Http01]
            }
            Self::Auto => vec![ChallengeType::Http01, ChallengeType::TlsAlpn01],
        }
    }
}

/// Answers challenges.
#[derive(Clone)]
pub(crate) struct Solver {
    pub(crate) http: Arc<HttpAnswers>,
    pub(crate) tls: Arc<Challenges>,
    pub(crate) dns: Option<Dns>,
    /// How long to wait before the authority is sent to a record that was set.
    pub(crate) dns_delay: Duration,
    pub(crate) clock: Clock,
}

/// What answers the challenges of one order. The answers of HTTP and TLS end with it; DNS records
/// are removed by [`Self::remove_records`].
pub(crate) struct Answers {
    solver: Solver,
    guards: Mutex<Vec<Guard>>,
    records: Mutex<Vec<(String, String)>>,
}

/// Ends an answer when it is dropped.
enum Guard {
    Http { _answer: HttpAnswer },
    Tls { _answer: ChallengeGuard },
}

impl Answers {
    pub(crate) fn new(solver: &Solver) -> Self {
        Self {
            solver: solver.clone(),
            guards: Mutex::default(),
            records: Mutex::default(),
        }
    }

    /// Makes the answer to a challenge for `base`, a name without `*.`, available.
    pub(crate) async fn set(
        &self,
        base: &str,
        challenge: &ChallengeHandle<'_>,
    ) -> Result<(), Failure> {
        let authorization = challenge.key_authorization();
        match challenge.r#type {
            ChallengeType::Http01 => {
                let token = &*challenge.token;
                let answer = self.solver.http.set(token, authorization.as_str());
                self.guards.lock().push(Guard::Http { _answer: answer });
            }
            ChallengeType::TlsAlpn01 => {
                let key = tls_alpn::certificate(base, authorization.digest().as_ref())?;
                let answer = self.solver.tls.present(base, key);
                self.guards.lock().push(Guard::Tls { _answer: answer });
            }
            ChallengeType::Dns01 => {
                let dns = self.solver.dns.as_ref().ok_or_else(|| {
                    Failure::new(FailureKind::Dns, "there is no way to set DNS records")
                })?;
                let value = authorization.dns_value();
                // Before the change: a change that is cut off may have been made.
                let record = (base.to_owned(), value.clone());
                self.records.lock().push(record);
                dns.change(Change::Add, base, &value, self.now()).await?;
                tokio::time::sleep(self.solver.dns_delay).await;
            }
            _ => {
                let text = "the authority offers no challenge that is supported here";
                return Err(Failure::new(FailureKind::Challenge, text));
            }
        }
        Ok(())
    }

    /// Removes the DNS records that were set. Failures are logged only: a record that stays does
    /// no harm.
    pub(crate) async fn remove_records(&self) {
        let records = std::mem::take(&mut *self.records.lock());
        for (base, value) in records {
            let Some(dns) = &self.solver.dns else { return };
            if let Err(failure) = dns.change(Change::Remove, &base, &value, self.now()).await {
                tracing::warn!(name = base, error = %failure, "cannot remove the record of a challenge");
            }
        }
    }

    fn now(&self) -> SystemTime {
        (self.solver.clock)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_uses_dns_if_it_can_and_alternates_otherwise() {
        use ChallengeType::{Dns01, Http01, TlsAlpn01};
        let auto = ChallengeKind::Auto;
        assert_eq!(auto.types(true, 0), [Dns01]);
        assert_eq!(auto.types(false, 0), [TlsAlpn01, Http01]);
        assert_eq!(auto.types(false, 1), [Http01, TlsAlpn01]);
        assert_eq!(ChallengeKind::Http01.types(true, 0), [Http01]);
    }
}
