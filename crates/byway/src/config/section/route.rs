//! `[[edge.route]]`.

use super::UpstreamTls;
use super::prelude::*;

keys! {
    /// Which requests go to which upstreams.
    ///
    /// Routes are tried in their order, the first that matches wins; a request that none matches
    /// gets 404. A route that is never reached because an earlier one has the same hosts and path
    /// is an error.
    pub struct Route {
        /// For logs, metrics and reload.
        ///
        /// Unique in its edge. The default does not change when other routes are added or removed.
        name: String, in "up to 64 characters", example "api", default "its hosts and path";
        /// Names, `"*.example.com"` for every name below it, or addresses.
        ///
        /// The port of a request does not matter.
        hosts: Vec<String>, in "host names and addresses", example ["app.example.com"],
            default "every host";
        /// A regular expression over the path.
        ///
        /// As the path will be forwarded, without the query; begin it with `^` to match from the
        /// start. Linear-time syntax; at most 1 MiB compiled.
        path: String, in "a regular expression", example "^/api/", default "every path";
        /// Client certificates that may use the route; other clients get 403.
        ///
        /// Written as `client` of `[[proxy.rule]]`. It needs a `[[tls.client]]` for the hosts of the
        /// route, whose authorities vouch for it.
        clients: Vec<String>, in "client certificates", example ["CN=alice"],
            default "every client, with or without a certificate";
        /// One upstream or several.
        ///
        /// Several are used round robin.
        to: Vec<String>, in "upstreams", example "127.0.0.1:3000", required;
        /// The longest request body of this route.
        max_body: OrNone<ByteSize>, example "10GiB", default "that of the edge";
        /// See [`UpstreamTls`].
        tls: UpstreamTls;
    } => RouteSettings {
        /// The Host that the upstream sees.
        ///
        /// `"keep"`: that of the request, from which applications build links and cookies.
        /// `"upstream"`: its own.
        host: OneOf<HostMode> => HostMode = HostMode::Keep;
        /// Whether its upstreams are spoken to in HTTP/2, with many requests on one connection.
        ///
        /// `true`: always; over `http://` and Unix sockets with prior knowledge (h2c), over
        /// `https://` the upstream must choose `h2` (ALPN). gRPC needs it. `"auto"`: an `https://`
        /// upstream chooses between `h2` and HTTP/1.1, others get HTTP/1.1. WebSockets use a
        /// connection of HTTP/1.1 of their own with `"auto"`; with `true` they get 502. The default is `false`, as in nginx, HAProxy and Envoy: on connections of
        /// HTTP/1.1 a lost one costs one request.
        h2: TruthOr<Http2Mode> => Http2Mode = Http2Mode::Never;
    }
}

/// Which Host an upstream sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMode {
    /// The request's own.
    Keep,
    /// The upstream's authority.
    Upstream,
}

/// Whether HTTP/2 is spoken to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Http2Mode {
    /// HTTP/1.1 only.
    #[default]
    Never,
    /// HTTP/2 only.
    Always,
    /// As the upstream chooses by ALPN.
    Auto,
}

impl Words for Http2Mode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("false", Self::Never),
        ("true", Self::Always),
        ("auto", Self::Auto),
    ];
}

impl Words for HostMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("keep", Self::Keep), ("upstream", Self::Upstream)];

    /// A host name belongs in `hosts`.
    fn meant_for_another_key(text: &str) -> Option<String> {
        (text.contains('.') || text == "localhost").then(|| {
            format!("did you mean `hosts`, the hosts that the route is for? hosts = [{text:?}]")
        })
    }
}
