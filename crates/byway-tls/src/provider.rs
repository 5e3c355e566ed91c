//! Provider: the cryptography of servers: aws-lc-rs, with post-quantum key exchange preferred.

use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};

/// Key exchange groups of servers, in order of preference: the post-quantum hybrid of RFC 9794
/// first. A client without it uses X25519 and loses nothing.
static GROUPS: &[&dyn SupportedKxGroup] = &[
    kx_group::X25519MLKEM768,
    kx_group::X25519,
    kx_group::SECP256R1,
    kx_group::SECP384R1,
];

/// The cryptography that servers of this crate use. One for the process.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            kx_groups: GROUPS.to_vec(),
            ..default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}
