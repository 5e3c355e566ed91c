//! Key log: the secrets of TLS sessions as lines of text, to decrypt captured traffic.
//!
//! In:    secrets, as handshakes derive them.
//! Out:   lines in the format of NSS (`SSLKEYLOGFILE`), passed to the program.
//! Never: writes anywhere by itself. Only code can enable it.

use std::fmt::{self, Write};
use std::sync::Arc;

/// Takes a line for each secret of each session: `LABEL CLIENT_RANDOM SECRET`, the latter two in
/// hex, without a line end. Anyone with these lines can decrypt the traffic. Wireshark reads them
/// as its key log file.
///
/// The function is called during a handshake, on the thread that runs it: it must not block.
#[derive(Clone)]
pub struct KeyLog(Arc<dyn Fn(&str) + Send + Sync>);

impl KeyLog {
    /// A log that passes each line to `take`.
    pub fn new(take: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = String::from(label);
        for bytes in [client_random, secret] {
            line.push(' ');
            for byte in bytes {
                // Writing to a String cannot fail.
                let _ = write!(line, "{byte:02x}");
            }
        }
        (self.0)(&line);
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLog")
    }
}
