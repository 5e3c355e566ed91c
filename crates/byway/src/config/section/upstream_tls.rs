//! `[edge.route.tls]`.

use super::prelude::*;

keys! {
    /// TLS towards the `https://` upstreams of a route.
    ///
    /// Files are read again on a reload.
    pub struct UpstreamTls {
        /// The authorities that are trusted, in PEM.
        ///
        /// Those of the system are not trusted then.
        ca: String, in "a path", example "/etc/byway/internal.pem", alternative "those of the system";
        /// The name that is sent (SNI), and that the certificate must be for.
        server_name: String, in "a host name", example "app.internal", alternative "the host of the upstream";
        /// A client certificate, with its chain, in PEM.
        cert: String, in "a path", example "/etc/byway/client.pem", alternative "none";
        /// Its key.
        key: String, in "a path", example "/etc/byway/client.key", alternative "the file of `cert`";
        /// The SHA-256 of the only public key that is trusted, in hexadecimal.
        ///
        /// Names, dates and authorities do not matter then.
        pin: String, in "64 hexadecimal digits",
            example "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", alternative "none";
    }
}
