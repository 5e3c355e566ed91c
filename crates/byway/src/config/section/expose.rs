//! `[[expose]]`.

use super::Join;
use super::kind::Group;
use super::prelude::*;

keys! {
    /// A service of this node, exposed through a `[[serve]]` elsewhere.
    ///
    /// Sections with the same join string and carrier share a link. A name, a port, or a target
    /// without either, is exposed once through one join string.
    pub struct Expose {
        /// For `http` the label in front of the domain; for `tcp` a display name.
        ///
        /// A label has 1 to 63 of `a-z`, `0-9` and `-`, not at its ends.
        name: String, in "a label or a name", example "app",
            default "the target for `tcp`; required for `http`";
        /// The local target, which speaks HTTP.
        http: String, in "a target", example "127.0.0.1:3000", unless "tcp";
        /// The local target, which takes bytes.
        tcp: String, in "a target", example "127.0.0.1:22", instead "http";
        /// The Host that the service sees; only with `http`.
        ///
        /// The visitor's own, the target's own, or a name with or without a port;
        /// `X-Forwarded-Host` always has the visitor's own. Dev servers with a host check (Vite,
        /// webpack-dev-server) accept only their own Host.
        host: String, in "`\"keep\"`, `\"upstream\"`, or a name such as `\"app.test\"`",
            example "keep", value "\"keep\"";
        /// The public port; only with `tcp`.
        ///
        /// It must be in the range of the grant, by default from 1024 on. A free one is kept by the
        /// other side for this node's key and this `name`.
        port: Count, in 1..=65_535, example 20022, alternative "a free one";
        /// Through which link.
        join: Group<Join>;
    }
}
