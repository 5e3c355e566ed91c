//! `[[serve]]`.

use super::prelude::*;

keys! {
    /// The public end of exposed services.
    pub struct Serve {
        /// As for an edge.
        name: String, in "up to 64 characters", example "tunnels",
            default "the address of each listener";
        /// Where links arrive: one address or several.
        ///
        /// QUIC takes the UDP port of the same number.
        listen: Vec<String>, in "TCP addresses", example "0.0.0.0:7000", required;
        /// `HOST:PORT` in join strings.
        ///
        /// `HOST` alone takes the port of the first listener. Other machines cannot dial `0.0.0.0`.
        advertise: String, in "a name or an address", example "t.example.com:7000",
            default "`domain`, else the first address of `listen` if it is a single one";
        /// HTTP services become `NAME.DOMAIN`.
        ///
        /// Required with `http` or `https`, and one of them with it; no two sections have the same one.
        domain: String, in "a host name", example "t.example.com", default "TCP services only";
        /// Where visitors of HTTP services arrive.
        http: Vec<String>, in "listen addresses", example "0.0.0.0:80", default "none";
        /// Where visitors of HTTP services arrive over TLS.
        ///
        /// Services get `https:` URLs, and addresses of `http` with port 80 redirect there. The
        /// certificate should be for `*.DOMAIN`.
        https: Vec<String>, in "listen addresses", example "0.0.0.0:443", default "none";
    }
}
