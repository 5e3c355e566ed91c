//! Shaping: what a bad path does to packets, without I/O and without a clock.
//!
//! `shape` describes what the path does to packets of one direction, `shaper` applies it to each
//! packet, `counts` counts the outcomes, `packet` reads the few header fields that matter, `plan`
//! changes the shape at given times.

pub mod counts;
pub mod packet;
pub mod plan;
pub mod shape;
pub mod shaper;
