//! Sockets: the options for how a connection is made: addresses, keepalive probes, TLS, proxies.
//! Nothing is checked before `build`.

use super::AgentBuilder;
use crate::agent::proxy::Proxy;
use byway_dial::{Family, LocalAddress, Options, Roots, TlsOptions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// How much later than the agent's timeout the dialler's own timeout is.
const BEHIND: Duration = Duration::from_secs(1);

/// # How connections are made
impl AgentBuilder {
    /// The proxy that connections go through: see [`Proxy`]. Default: none, and the environment's
    /// variables are ignored.
    #[doc(alias = "ProxyAgent")]
    #[doc(alias = "HTTPS_PROXY")]
    pub fn proxy(mut self, proxy: impl Into<Proxy>) -> Self {
        self.proxy = Some(proxy.into());
        self
    }

    /// The address to connect from (to the proxy, if there is one); addresses of the other family
    /// are then skipped. Default: the system chooses.
    #[doc(alias = "localAddress")]
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.local_address = Some(LocalAddress::Only(address));
        self
    }

    /// The addresses to connect from, one for each family. Replaces
    /// [`AgentBuilder::local_address`].
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

    /// Idle time after which the kernel probes a connection, 1 s to 32,767 s in whole seconds;
    /// `None` for never. It detects peers that vanished, also while waiting for a response. Default
    /// 60 s. Four unanswered probes, 15 s apart, end the connection.
    #[doc(alias = "keepAliveMsecs")]
    #[doc(alias = "keepAliveInitialDelay")]
    pub fn tcp_keepalive(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.tcp_keepalive = Some(silence.into());
        self
    }

    /// The roots to trust on `https`. Default: the system's. Verification cannot be turned off.
    #[doc(alias = "ca")]
    #[doc(alias = "add_root_certificate")]
    pub fn tls_roots(mut self, roots: Roots) -> Self {
        self.tls.roots = roots;
        self
    }

    /// All TLS options: roots, a client certificate, the oldest version, how many servers' sessions
    /// are kept for resumption (128; 0 for none), a key log. Replaces [`AgentBuilder::tls_roots`].
    /// Sessions are resumed within one agent, never across two, whatever their options. `alpn` must
    /// be empty or `http/1.1`, the only protocol that an agent speaks.
    #[doc(alias = "maxCachedSessions")]
    #[doc(alias = "TLSClientConfig")]
    #[doc(alias = "keylog")]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = options;
        self
    }

    /// The options for the dialler. Its timeout is a little longer than the agent's own, which
    /// covers the whole path to the origin, so that one deadline has one error.
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
    fn the_dialler_gets_the_callers_options_and_defaults_for_the_rest() {
        let default = AgentBuilder::default();
        let expected = Options {
            connect_timeout: default.connect_timeout + BEHIND,
            ..Options::default()
        };
        assert_eq!(default.dial_options(), expected);
        let seven = Duration::from_secs(7);
        let each = LocalAddress::Each {
            v4: Ipv4Addr::LOCALHOST,
            v6: Ipv6Addr::LOCALHOST,
        };
        let builder = AgentBuilder::default()
            .tcp_keepalive(seven)
            .local_addresses(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
            .connect_timeout(seven);
        let expected = Options {
            keepalive: Some(seven),
            local_address: Some(each),
            connect_timeout: seven + BEHIND,
            ..Options::default()
        };
        assert_eq!(builder.dial_options(), expected);
        let builder = AgentBuilder::default()
            .tcp_keepalive(None)
            .local_address(IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(builder.dial_options().keepalive, None);
        assert_eq!(
            builder.dial_options().local_address,
            Some(LocalAddress::Only(Ipv4Addr::LOCALHOST.into()))
        );
    }
}
