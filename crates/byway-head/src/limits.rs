//! Limits: how much of one message is buffered or accepted before it is refused.
//!
//! Never: limits the body's size; that is policy.

/// Limits of one message. The defaults fit common browsers and origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest head, in bytes, including the first byte and the empty line; also the longest
    /// trailer section. Default 64 KiB, the maximum of the common proxies. Values over 4 GiB count
    /// as 4 GiB.
    pub head_bytes: usize,
    /// Most field lines in a head, and in a trailer section. Default 128.
    pub fields: usize,
    /// Longest request target, in bytes. Default 16 KiB.
    pub target_bytes: usize,
    /// Most elements in all Connection fields of a head together, including empty ones, since an
    /// intermediary compares each of them with each field. Default [`CONNECTION_OPTIONS`].
    pub connection_options: usize,
    /// Most bytes of chunk extensions in one whole message, since each chunk may have some and they
    /// are never passed on (CVE-2023-39326). Default 16 KiB.
    pub chunk_extension_bytes: usize,
}

/// The default of [`Limits::connection_options`].
pub const CONNECTION_OPTIONS: usize = 64;

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            fields: 128,
            target_bytes: 16 * 1024,
            connection_options: CONNECTION_OPTIONS,
            chunk_extension_bytes: 16 * 1024,
        }
    }
}

impl Limits {
    /// [`head_bytes`](Self::head_bytes), limited to offsets of 32 bits.
    pub fn head_window(&self) -> usize {
        self.head_bytes.min(u32::MAX as usize)
    }
}
