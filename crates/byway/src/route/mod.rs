//! Route: from an inquiry to the permission to open something for it.
//!
//! `inquiry` what was asked, by whom → `table` which route matches → `policy` the only maker of
//! `Allowed`; `explain` walks the same code for a person. Nothing here awaits or resolves a name.

pub mod explain;
pub mod inquiry;
pub mod policy;
pub mod table;

pub use inquiry::{Ask, Inquiry};
pub use policy::{Allowed, Because, Outbound};
