//! `[spill]`.

use std::path::PathBuf;

use super::kind::{Folder, GIB, KIB};
use super::prelude::*;

keys! {
    /// Bytes parked on disk for slow readers.
    ///
    /// Used by `[[proxy]]` and `[[exit]]` for streams to slow readers, on the node that dials: a
    /// `[[proxy]]` with `join` parks nothing, its exit does. Takes effect at the next start.
    pub struct Spill {} => SpillPlan {
        /// The folder for parked bytes.
        ///
        /// On a real disk: a tmpfs would spill memory into memory, and Byway warns. Created with
        /// mode 0700 if it does not exist.
        directory: Folder => PathBuf = PathBuf::from("spill"),
            example "/var/lib/byway/spill", default "`spill` in the state folder";
        /// Bytes of a stream in memory, before the disk is used.
        ///
        /// What a fast flow has in flight; fast readers never use the disk.
        memory: ByteSize => u64 = 256 * KIB, in 4 * KIB..=GIB;
        /// Bytes of a stream on disk.
        ///
        /// Then its sender waits. Most downloads fit whole.
        per_stream: ByteSize => u64 = GIB;
        /// Bytes of all streams together on disk.
        ///
        /// Shared between users, or else client addresses (of IPv6, a /64): each may have as much as
        /// is still free. So a single one has at most half, and n that use all they can have
        /// 1/(n + 1) each. Other programs use the disk, too; 5 % of it always stay free. Bytes on
        /// disk cannot be reclaimed, so space for the next user is kept free.
        per_node: Maybe<ByteSize> => Option<u64> = None,
            example "10GiB", default "the smaller of 10GiB and a fifth of the free disk";
        /// Whether the disk is used.
        ///
        /// `"off"`: the sender waits instead. The disk frees origins early.
        mode: OneOf<SpillMode> => SpillMode = SpillMode::Auto;
    }
}

/// Whether slow readers may use the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpillMode {
    /// When memory is full.
    Auto,
    /// Never: the sender waits.
    Off,
}

impl Words for SpillMode {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("off", Self::Off)];
}
