//! From a target to an open stream: names, addresses, Happy Eyeballs, TLS and parent proxies.
//!
//! The Agent and the program share one dialler: names become addresses in one place, and addresses
//! are checked in one place.
//!
//! A [`Target`] is the requested destination. The [`Dialler`] resolves it with a [`Resolver`],
//! checks every address against [`AddressRules`], races the [`CheckedAddr`]s that are left and
//! returns an open [`Stream`]:
//!
//! ```
//! use byway_dial::{AddressRules, DialError, Dialler, Options, Resolver, Target};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let resolver = Resolver::system(tokio::runtime::Handle::current());
//! let dialler = Dialler::new(resolver, Options::default());
//!
//! // The target of an unauthenticated client: only public addresses, and `localhost` has none.
//! let target: Target = "localhost:80".parse().unwrap();
//! let error = dialler.open(&target, &AddressRules::guarded()).await.unwrap_err();
//! assert!(matches!(error, DialError::Denied(_)));
//! println!("{error}"); // ::1 is a loopback address; an `allow` rule with cidr = "::1/128" (--allow ::1) opens it
//! # }
//! ```

mod answer_head;
mod denials;
pub mod dial;
pub mod environment;
pub mod error;
pub mod happy;
pub mod keepalive;
mod kernel_route;
pub mod no_proxy;
pub mod parent;
pub mod resolve;
pub mod route;
pub mod rules;
pub mod socks;
pub mod stream;
pub mod target;
pub mod text;
pub mod tls;
pub mod unsent;

pub use answer_head::BadHead;
pub use dial::{Dialled, Dialler, LocalAddress, Options};
pub use environment::{BadValue, BadVariable, Environment};
pub use error::DialError;
pub use happy::Family;
pub use no_proxy::{BadEntry, NoProxy};
pub use parent::{BadParent, Parent, ParentError, Scheme};
pub use resolve::{
    Addresses, ClientId, DnsFiles, Lookup, LookupPermit, ResolveError, Resolved, Resolver,
    system_only_modules,
};
pub use route::{NoRoute, Purpose, Route, Routing};
pub use rules::{
    AddressRule, AddressRules, CheckedAddr, Denied, Reason, closed_port, covered_closed_port,
    names_port,
};
pub use stream::{AsIo, Broken, Pipe, Read, Stream};
pub use target::{BadTarget, HostName, Target};
pub use text::{PeerText, peer_text};
pub use tls::{
    Identity, KeyLog, Roots, ServerName, TlsClient, TlsError, TlsOptions, TlsVersion,
    certificates_from_pem, plain_words,
};

/// Entry points of the fuzz targets; programs do not use them.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::resolve::fuzzing::dns_reply;
}
