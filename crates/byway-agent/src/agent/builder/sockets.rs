//! Sockets: the options of how a connection is made: addresses, probes, TLS, proxies.
//!
//! In:    what the caller wants.   Out:   the same, kept until `build`.   Never: checks anything.

use super::AgentBuilder;
use crate::agent::proxy::Proxy;
use byway_dial::{Family, LocalAddress, Options, Roots, TlsOptions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// How much later than the agent the dialler gives up.
const BEHIND: Duration = Duration::from_secs(1);

/// # How connections are made
impl AgentBuilder {
    /// What connections go through: see [`Proxy`]. Default: nothing, and the environment's
    /// variables are not looked at.
    #[doc(alias = "ProxyAgent")]
    #[doc(alias = "HTTPS_PROXY")]
    pub fn proxy(mut self, proxy: impl Into<Proxy>) -> Self {
        self.proxy = Some(proxy.into());
        self
    }

    /// The address to connect from (to the proxy, if there is one); addresses of the other family
    /// are then left out. Default: the system chooses.
    #[doc(alias = "localAddress")]
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.local_address = Some(LocalAddress::Only(address));
        self
    }

    /// The addresses to connect from, one for each family. Replaces what
    /// [`AgentBuilder::local_address`] said.
    #[doc(alias = "set_local_addresses")]
    pub fn local_addresses(mut self, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        self.local_address = Some(LocalAddress::Each { v4, v6 });
        self
    }

    /// Which address families are used. Default both, IPv6 first.
    #[doc(alias = "autoSelectFamily")]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// How long a connection is silent before the kernel probes it, 1 s to 32,767 s in whole
    /// seconds; `None` for never. It finds peers that vanished, also while a response is waited
    /// for. Default 60 s. Four probes without an answer, 15 s apart, end the connection.
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

    /// Everything about TLS: roots, a certificate of your own, the oldest version, how many
    /// servers' sessions are remembered for short handshakes (128; 0 for none), a log of keys.
    /// Replaces what [`AgentBuilder::tls_roots`] said. Sessions are resumed within one agent, never
    /// across two, whatever their options. `alpn` must be empty or `http/1.1`, which is what an
    /// agent speaks.
    #[doc(alias = "maxCachedSessions")]
    #[doc(alias = "TLSClientConfig")]
    #[doc(alias = "keylog")]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = options;
        self
    }

    /// What of it is the dialler's business. Its clock runs a little behind the agent's own, which
    /// is for the whole way to the origin, so that one deadline has one error.
    pub(super) fn dial_options(&self) -> Options {
        let defaults = Options::default();
        Options {
            family: self.family,
            local_address: self.local_address,
            connect_timeout: self.connect_timeout.saturating_add(BEHIND),
            keepalive: self.tcp_keepalive.unwrap_or(defaults.keepalive),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialler_is_told_what_the_caller_said_and_keeps_its_own_word_on_the_rest() {
        let default = AgentBuilder::default();
        let told = Options {
            connect_timeout: default.connect_timeout + BEHIND,
            ..Options::default()
        };
        assert_eq!(default.dial_options(), told);
        let seven = Duration::from_secs(7);
        let each = LocalAddress::Each {
            v4: Ipv4Addr::LOCALHOST,
            v6: Ipv6Addr::LOCALHOST,
        };
        let said = AgentBuilder::default()
            .tcp_keepalive(seven)
            .local_addresses(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
            .connect_timeout(seven);
        let expected = Options {
            keepalive: Some(seven),
            local_address: Some(each),
            connect_timeout: seven + BEHIND,
            ..Options::default()
        };
        assert_eq!(said.dial_options(), expected);
        let said = AgentBuilder::default()
            .tcp_keepalive(None)
            .local_address(IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(said.dial_options().keepalive, None);
        assert_eq!(
            said.dial_options().local_address,
            Some(LocalAddress::Only(Ipv4Addr::LOCALHOST.into()))
        );
    }
}
