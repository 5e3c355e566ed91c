//! Sockets: the options of how a connection is made: addresses, probes, TLS, proxies.
//!
//! In:    what the caller wants.   Out:   the same, kept until `build`.   Never: checks anything.

use super::AgentBuilder;
use crate::agent::proxy::Proxy;
use byway_dial::{Family, LocalAddress, Roots, TlsOptions};
use std::time::Duration;

/// # How connections are made
impl AgentBuilder {
    /// What connections go through: see [`Proxy`]. Default: nothing, and the environment's variables are not looked at.
    #[doc(alias = "ProxyAgent")]
    #[doc(alias = "HTTPS_PROXY")]
    pub fn proxy(mut self, proxy: impl Into<Proxy>) -> Self {
        self.proxy = Some(proxy.into());
        self
    }

    /// The address to connect from, or one for each family: then see [`LocalAddress::Each`]. To a proxy, if there is one.
    /// Default: the system chooses.
    #[doc(alias = "localAddress")]
    pub fn local_address(mut self, address: impl Into<LocalAddress>) -> Self {
        self.local_address = Some(address.into());
        self
    }

    /// Which address families are used. Default both, IPv6 first.
    #[doc(alias = "autoSelectFamily")]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// How long a connection is silent before the kernel probes it, 1 s to 32,767 s in whole seconds; `None` for never.
    /// It finds peers that vanished, also while a response is waited for. Default 60 s.
    #[doc(alias = "keepAliveMsecs")]
    #[doc(alias = "keepAliveInitialDelay")]
    pub fn tcp_keepalive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.tcp_keepalive = Some(silence.into());
        self
    }

    /// Whom to trust on `https`. Default: whom the system trusts. There is no way not to verify.
    #[doc(alias = "ca")]
    #[doc(alias = "add_root_certificate")]
    pub fn tls_roots(mut self, roots: Roots) -> Self {
        self.tls.roots = roots;
        self
    }

    /// Everything about TLS: roots, a certificate of your own, the oldest version, how many servers' sessions are
    /// remembered for short handshakes (128; 0 for none), a log of keys. Replaces what [`AgentBuilder::tls_roots`] said.
    /// Sessions are resumed within one agent, never across two, whatever their options. `alpn` must be empty or
    /// `http/1.1`, which is what an agent speaks.
    #[doc(alias = "maxCachedSessions")]
    #[doc(alias = "TLSClientConfig")]
    #[doc(alias = "keylog")]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = options;
        self
    }
}
