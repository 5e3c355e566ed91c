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
