//! Os: platform-specific functions, each with a portable fallback.

pub mod descriptors;
pub mod inherit;
pub mod network_changes;
pub mod process;
pub mod reuseport;
