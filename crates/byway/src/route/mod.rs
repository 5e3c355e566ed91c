//! Route: from an inquiry to the permission to open something for it.
//!
//! `inquiry` is the request and its client → `table` finds the route → `policy` alone creates
//! `Allowed`; `explain` shows a decision of the same code to the operator. Apart from `explain`,
//! nothing here awaits or resolves a name.

pub mod inquiry;
pub mod policy;
pub mod table;

pub use inquiry::{Ask, Inquiry};
pub use policy::{Allowed, Because, Outbound};
