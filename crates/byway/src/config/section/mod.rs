//! Sections: every key of a config file, declared once; one file for each section.
//!
//! In:    a table of the file.
//! Out:   a [`File`], the parts of the Plan that need no code of their own, and the
//!        [`Description`] of all keys.
//! Never: resolves what depends on other sections: `resolve` does.

#[macro_use]
mod keys;

mod acme;
mod certificate;
pub(super) mod description;
mod dial;
mod drain;
mod edge;
mod exit;
mod expose;
mod join;
pub(super) mod kind;
mod limits;
mod link;
mod log;
mod metrics;
mod pool;
mod proxy;
mod retry;
mod route;
mod rule;
mod serve;
mod spill;
mod tcp;
mod tls;
mod top;
mod upstream_tls;

pub use acme::{Acme, Challenge, OnDemandNames};
pub use certificate::Certificate;
pub use dial::{Dial, DialPlan, Family, ResolverKind};
pub use drain::{Drain, DrainPlan};
pub use edge::{Edge, EdgeSettings};
pub use exit::Exit;
pub use expose::Expose;
pub use join::{CarrierChoice, Join};
pub use limits::{Limits, LimitsPlan};
pub use link::{Link, LinkSettings};
pub use log::{AccessFormat, AccessPlace, Log, LogPlan};
pub use metrics::Metrics;
pub use pool::{Pool, PoolPlan};
pub use proxy::{Egress, EgressCommon, EgressSettings, User, Verdict};
pub use retry::{Retry, RetryPlan};
pub use route::{HostMode, Http2Mode, Route, RouteSettings};
pub(super) use rule::{ActionWord, Rule};
pub use serve::Serve;
pub use spill::{Spill, SpillMode, SpillPlan};
pub use tcp::Tcp;
pub use tls::{ClientCertificates, ClientMode, OldestVersion, Tls, TlsSettings};
pub use top::File;
pub use upstream_tls::UpstreamTls;

use self::description::Description;
use super::table::TableReader;

/// A table of a config file, declared by `keys!`.
pub trait Section: Clone + std::fmt::Debug + Default {
    /// The doc comment of the section.
    const ABOUT: &'static str;

    /// Reads it.
    fn read(table: &mut TableReader<'_, '_>) -> Self;

    /// Describes its keys.
    fn describe() -> Description;
}

/// What every file of a section uses.
mod prelude {
    pub(super) use super::Section;
    pub(super) use super::description::{self, Description, Key};
    pub(super) use super::kind::{
        Count, Form, Kind, Maybe, OneOf, OrNone, TruthOr, Words, millis, seconds,
    };
    pub(super) use crate::config::resolve::Resolver;
    pub(super) use crate::config::table::TableReader;
    pub(super) use crate::config::units::{ByteSize, Period, Rate};
    pub(super) use std::time::Duration;
}
