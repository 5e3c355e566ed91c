//! ACME: certificates from an authority, obtained and renewed without an operator (RFC 8555).
//!
//! ```text
//! names ─▶ Keeper ─▶ schedule: now? ─▶ order ─▶ challenges ─▶ bundle ─▶ state folder, CertificateStore
//!            ▲                                    │
//!   on demand┘                    http_answers, tls_alpn, dns
//! ```
//!
//! [`Keeper`] owns the certificates of a node. Its holder polls [`Keeper::run`] as one task, passes
//! in an HTTP client and a clock, serves [`HttpAnswers`] on port 80, and gives the keeper to the
//! listeners as their [`OnDemand`](crate::OnDemand). A start waits for nothing: certificates of earlier runs are used
//! at once, others come when they come.

mod authority;
mod bundle;
mod challenge;
mod dns;
mod dns_update;
mod failure;
mod folder;
mod http_answers;
mod keeper;
mod name;
mod on_demand;
mod order;
mod schedule;
mod status;
mod tls_alpn;
mod transport;

use std::sync::Arc;
use std::time::SystemTime;

pub use authority::{Authority, Binding};
pub use bundle::{Bundle, BundleError};
pub use challenge::ChallengeKind;
pub use dns::{Dns, DnsCommand};
pub use dns_update::{Algorithm, DnsUpdate, TsigKey};
pub use failure::{Failure, FailureKind, MOST_DETAIL};
pub use folder::MOST_CERTIFICATES;
pub use http_answers::{CHALLENGE_PATH, HttpAnswers};
pub use keeper::{Keeper, ORDERS_AT_ONCE, Options, Request, Source, Unaccepted};
pub use name::{BadName, Name};
pub use on_demand::{AllowRule, MOST_NAMES, RateLimit};
pub use order::ORDER_DEADLINE;
pub use schedule::Period;
pub use status::{Counts, Status};
pub use transport::{
    ClientError, HttpClient, MOST_RESPONSE_BYTES, REQUEST_DEADLINE, ResponseFuture,
};

/// The time of day. Passed in, so that tests can move it.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
