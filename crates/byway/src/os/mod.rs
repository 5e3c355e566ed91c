//! Os: what only one platform has, each with a portable fallback.

pub mod descriptors;
pub mod inherit;
pub mod network_changes;
pub mod process;
pub mod reuseport;
pub mod splice;
pub mod unnamed_file;
