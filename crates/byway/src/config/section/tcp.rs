//! `[[tcp]]`.

use super::prelude::*;

keys! {
    /// A plain forward of TCP connections.
    pub struct Tcp {
        /// As for an edge.
        name: String, in "up to 64 characters", example "ssh",
            default "the address of each listener";
        /// As for an edge.
        listen: Vec<String>, in "listen addresses", example "127.0.0.1:2222", required;
        /// The target, dialled for each connection.
        ///
        /// No address rules apply to it.
        to: String, in "a target", example "10.0.0.5:22", required;
    }
}
