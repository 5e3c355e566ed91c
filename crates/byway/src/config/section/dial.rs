//! `[dial]`.

use std::net::IpAddr;

use super::prelude::*;
use crate::config::diagnostic::Diagnostic;

keys! {
    /// How connections to targets are opened.
    pub struct Dial {} => DialPlan {
        /// IPv4, IPv6 or both.
        ///
        /// With Happy Eyeballs a broken family costs little.
        family: OneOf<Family> => Family = Family::Any;
        /// The address that connections start from.
        ///
        /// An address of this machine, of the family. QUIC links do not use it. Only machines with
        /// several addresses need it.
        local_address: Maybe<IpAddr> => Option<IpAddr> = None,
            example "192.0.2.1", default "the system chooses";
        /// The time to connect to a target, all its addresses together.
        ///
        /// A lost SYN is sent again after 1 s, 3 s and 7 s: three retransmissions fit into 10 s.
        connect_timeout: Period => Duration = seconds(10);
        /// How names are resolved.
        ///
        /// `"dns"` asks the servers of `/etc/resolv.conf`, after `/etc/hosts`; a look-up ends at its
        /// deadline and needs no thread. `"system"` calls `getaddrinfo` with every module of
        /// `/etc/nsswitch.conf`, for mDNS, LDAP and the like; `byway check` warns if they are set
        /// up.
        resolver: OneOf<ResolverKind> => ResolverKind = ResolverKind::Dns;
        /// How long an address may take before the next one is tried beside it.
        ///
        /// RFC 8305 recommends 250 ms.
        attempt_delay: Period => Duration = millis(250), in millis(10)..=seconds(2);
    }
}

/// Which addresses are dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Words for Family {
    const WORDS: &'static [(&'static str, Self)] =
        &[("any", Self::Any), ("4", Self::V4), ("6", Self::V6)];
}

/// How names are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolverKind {
    /// The servers of `/etc/resolv.conf`, after `/etc/hosts`.
    Dns,
    /// `getaddrinfo`, with every module of `/etc/nsswitch.conf`.
    System,
}

impl Words for ResolverKind {
    const WORDS: &'static [(&'static str, Self)] = &[("dns", Self::Dns), ("system", Self::System)];
}

impl Resolver<'_> {
    /// `[dial]`, with an address that is of the family.
    pub(in crate::config) fn dial(&mut self, written: &Dial) -> DialPlan {
        let plan = written.resolve(self, "dial.");
        let (Some(text), Some(ip)) = (&written.local_address, plan.local_address) else {
            return plan;
        };
        let wrong = match plan.family {
            Family::Any => false,
            Family::V4 => !ip.is_ipv4(),
            Family::V6 => !ip.is_ipv6(),
        };
        if wrong {
            let message =
                format!("`dial.local_address` {ip} is not of the family that `dial.family` allows");
            let mut diagnostic =
                Diagnostic::new(&text.place, message).help("leave one of the two out");
            if let Some(family) = &written.family {
                diagnostic = diagnostic.earlier(&family.place, "the family");
            }
            self.note(diagnostic);
        }
        plan
    }
}
