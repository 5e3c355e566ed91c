//! Limits: how much a peer may send before its connection is closed.
//!
//! Never: reserves memory. A limit is compared with a length before anything is stored.

/// Limits of what one peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest payload of one data frame, in bytes. Default 1 MiB. The payload of a control frame
    /// is limited to 125 bytes by RFC 6455.
    pub frame_bytes: u64,
    /// Longest message, all its fragments together, in bytes; also the most memory that a
    /// [`Decoder`](crate::Decoder) holds. Default 1 MiB.
    pub message_bytes: u64,
    /// Most fragments of one message, including empty ones, since each costs work even if it
    /// carries nothing. Default 16,384: fragments of 64 bytes for a message of the default size.
    pub fragments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 1024 * 1024,
            message_bytes: 1024 * 1024,
            fragments: 16 * 1024,
        }
    }
}
