//! `[[acme]]`.

use super::prelude::*;

keys! {
    /// An authority that issues certificates by itself.
    ///
    /// See docs/tls.md. With `https` listeners, the first section also gets the hosts of their
    /// routes that are exact names and that no `[[certificate]]` and no other section has.
    pub struct Acme {
        /// The names of certificates.
        ///
        /// `"*.example.com"` needs a way to set DNS records.
        names: Vec<String>, in "host names", example ["example.com", "*.t.example.com"],
            default "those of routes";
        /// Confirms that you agree to the terms of service of the authority.
        agree: bool, example true, required;
        /// The URL of the authority's directory.
        directory: String, in "a URL", example "https://acme-v02.api.letsencrypt.org/directory",
            default "`\"https://acme-v02.api.letsencrypt.org/directory\"`, Let's Encrypt";
        /// Where the authority writes to about the account.
        email: String, in "an address", example "admin@example.com", default "none";
        /// How the authority checks that a name leads here.
        ///
        /// `"auto"`: `"dns-01"` if there is `dns_command` or `dns_server`; else `"tls-alpn-01"`, a
        /// handshake on port 443, and `"http-01"`, a request on port 80, in turn.
        challenge: OneOf<Challenge>, example "auto", default "`\"auto\"`";
        /// A program that sets TXT records, and the arguments before ours.
        ///
        /// It gets `present` or `cleanup`, the name with a final dot, and the value, and ends when
        /// the record is visible. No shell is used.
        dns_command: Vec<String>, in "a program and arguments",
            example ["/usr/local/bin/dns-record"], default "none";
        /// A DNS server that takes updates (RFC 2136), over TCP.
        ///
        /// Needs `dns_key_file`.
        dns_server: String, in "a target", example "10.0.0.53:53", alternative "none";
        /// A file with the key that signs updates: what `tsig-keygen` prints, or
        /// `[ALGORITHM:]NAME:SECRET`.
        dns_key_file: String, in "a path", example "/etc/byway/dns.key", alternative "none";
        /// The zone of the records.
        dns_zone: String, in "a host name", example "example.com", alternative "the server is asked";
        /// The id of an account elsewhere that the authority requires (EAB).
        binding_id: String, in "text", example "kid-1", alternative "none";
        /// A file with the key of that account, in base64.
        binding_key_file: String, in "a path", example "/etc/byway/binding.key", alternative "none";
        /// The profile of certificates, where the authority has several.
        profile: String, in "text", example "shortlived", default "the authority's default";
        /// Trusts these root certificates for requests to the authority, in PEM.
        ///
        /// For private authorities.
        ca: String, in "a path", example "/etc/byway/authority.pem", default "the system's";
        /// Which other names get a certificate when a client asks for them.
        ///
        /// `"services"`: names of exposed services whose agent is connected. `"routes"`: names that
        /// `"*."` hosts of routes match; clients can use up the limits of the authority by asking for
        /// many of them.
        on_demand: OneOf<OnDemandNames>, example "services", default "`\"off\"`";
        /// How many new names may be requested on demand at once.
        on_demand_burst: Count, in 1..=1000, example 10, default "10";
        /// After those, one more each time this has passed.
        on_demand_interval: Period, in seconds(1)..=seconds(86_400), example "1m", default "`\"1m\"`";
        /// How long a DNS record needs until the authority can see it.
        dns_delay: Period, in seconds(0)..=seconds(3600), example "10s", default "`\"0s\"`";
        /// How long `dns_command` may run.
        dns_deadline: Period, in seconds(1)..=seconds(280), example "2m", default "`\"2m\"`";
    }
}

/// How an authority checks a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By DNS if it can be set, else by TLS and HTTP in turn.
    Auto,
    /// By a request.
    Http01,
    /// By a handshake.
    TlsAlpn01,
    /// By a TXT record.
    Dns01,
}

impl Challenge {
    /// As it is written.
    pub fn name(self) -> &'static str {
        self.word()
    }
}

impl Words for Challenge {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("http-01", Self::Http01),
        ("tls-alpn-01", Self::TlsAlpn01),
        ("dns-01", Self::Dns01),
    ];
}

/// Which names get certificates on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDemandNames {
    /// None.
    Off,
    /// Those of exposed services.
    Services,
    /// Those that routes match by a `*.` host.
    Routes,
}

impl Words for OnDemandNames {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("services", Self::Services),
        ("routes", Self::Routes),
    ];
}
