//! `[[edge]]`.

use super::Route;
use super::prelude::*;

keys! {
    /// A reverse proxy.
    pub struct Edge {
        /// For logs and metrics.
        ///
        /// Also in the ready line, and for reload. Up to 64 characters, unique.
        name: String, in "up to 64 characters", example "site",
            default "the address of each listener";
        /// One address or several for plain HTTP.
        listen: Vec<String>, in "listen addresses", example "127.0.0.1:8080", unless "https";
        /// One address or several for HTTPS.
        ///
        /// See `[[certificate]]` and `[tls]`.
        https: Vec<String>, in "listen addresses", example ":443", instead "listen";
        /// Whether plain requests are redirected to the first address of `https`.
        ///
        /// With 308, which keeps method and body.
        redirect_to_https: bool, example false,
            default "`true` for addresses of `listen` with port 80, if there is `https`";
        /// Networks whose `Forwarded` and `X-Forwarded-*` are believed.
        ///
        /// They are extended. These proxies may also pass `https:` targets on (others get 421). A trusted proxy can
        /// claim any client address.
        trusted_proxies: Vec<String>, in "networks or addresses", example ["10.0.0.0/8"],
            default "none";
        /// The longest request body of this edge.
        max_body: OrNone<ByteSize>, example "10GiB", default "that of `[limits]`";
        /// See [`Route`].
        route: Vec<Route>;
    } => EdgeSettings {
        /// Whether a path with an empty segment gets a 400.
        ///
        /// An empty segment is `//`, or a slash next to `%2F`; otherwise it is matched and forwarded
        /// as received. Some applications have such paths; many origins read `//admin` as `/admin`,
        /// which `^/admin` does not match. `byway check` warns of such patterns.
        reject_empty_segments: bool => bool = false;
        /// How long browsers use HTTPS only (`Strict-Transport-Security`).
        ///
        /// Sent over HTTPS only, with responses of upstreams and with errors of Byway itself. Begin with a short time: it cannot be taken back before it is over.
        hsts: Maybe<Period> => Option<Duration> = None, in seconds(1)..=seconds(63_072_000),
            example "365d", default "not sent";
    }
}
