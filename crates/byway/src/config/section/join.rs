//! The keys of a link that this node dials, in `[[proxy]]` and `[[expose]]`.

use super::prelude::*;
use crate::config::secret::Secret;

keys! {
    /// Which link a section uses.
    pub struct Join {
        /// The join string that the other node prints.
        ///
        /// For an `[[expose]]` that of `byway serve`, for a `[[proxy]]` that of `byway proxy serve`:
        /// what is allowed goes out there.
        join: Secret, in "a join string", example "by1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAqcn-2@t.example.com:7000",
            default "none; an `[[expose]]` needs this or `join_file`";
        /// A file whose first line that is not empty is the join string.
        ///
        /// Keeps the secret out of the config.
        join_file: String, in "a path", example "/etc/byway/join", alternative "none; in place of `join`";
        /// What the link runs over.
        ///
        /// `"auto"`: QUIC, and TLS where that does not get through. QUIC is better on lossy lines;
        /// some networks drop UDP.
        carrier: OneOf<CarrierChoice>, example "auto", value "\"auto\"";
    }
}

/// What a link runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CarrierChoice {
    /// QUIC, and TLS over TCP where that does not get through.
    Auto,
    /// QUIC alone.
    Quic,
    /// TLS over TCP alone.
    Tls,
}

impl Words for CarrierChoice {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("quic", Self::Quic),
        ("tls", Self::Tls),
    ];
}
