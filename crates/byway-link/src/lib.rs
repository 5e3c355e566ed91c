//! Link.
pub mod join;
pub mod key;
pub mod store;
pub use join::{BadJoin, GrantId, GrantSecret, JoinString};
pub use key::{Fingerprint, Key, KeyError};
