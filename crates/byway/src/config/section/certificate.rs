//! `[[certificate]]`.

use super::prelude::*;

keys! {
    /// A certificate of `https` listeners.
    ///
    /// A client gets the certificate for the name that it sends: an exact one, else one for `*.` and
    /// the rest of the name, else the default. Files are read again when they change and on a
    /// reload; files that cannot be used leave the certificate that works. PKCS#12 is refused, with
    /// the command that converts it.
    pub struct Certificate {
        /// The chain, in PEM.
        ///
        /// The server's own certificate first, then that of its issuer, and so on.
        cert: String, in "a path", example "/etc/byway/site.pem", required;
        /// The private key, in PEM, without a passphrase.
        key: String, in "a path", example "/etc/byway/site.key", default "the file of `cert`";
        /// An OCSP response in DER, stapled to handshakes.
        ocsp: String, in "a path", example "/etc/byway/site.ocsp", default "none";
        /// The names that it serves.
        names: Vec<String>, in "host names", example ["example.com", "*.example.com"],
            default "those in the certificate";
        /// Whether clients get it that send no name or an unknown one.
        default: bool, example true, default "the first certificate is";
    }
}
