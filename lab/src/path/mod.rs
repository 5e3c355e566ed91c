//! Path: a simulated network path between two network namespaces, for traffic that crosses a bad
//! line.
//!
//! `lab::shaping` says what the path does to each packet. `tun` opens a device in a namespace,
//! `namespace` makes and removes namespaces, `simulator` moves packets between two devices, and
//! `line` joins them: two namespaces with a path between.

pub(crate) mod line;
pub(crate) mod namespace;
pub(crate) mod simulator;
mod tun;
