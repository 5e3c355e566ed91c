//! Path: a simulated network path between two network namespaces.
//!
//! `lab::shaping` decides what the path does to each packet. `tun` opens a device in a namespace,
//! `namespace` creates and removes namespaces, `simulator` moves packets between two devices, and
//! `line` combines them: two namespaces with a path between.

pub(crate) mod line;
pub(crate) mod namespace;
pub(crate) mod simulator;
mod tun;
