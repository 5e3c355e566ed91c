//! Shaping: what a bad path does to packets, without a packet and without a clock.
//!
//! `shape` is what the path does to packets of one direction, `shaper` applies it to one after the
//! other, `counts` says what became of them, `packet` reads the few header fields that matter,
//! `plan` changes the shape at given times.

pub mod counts;
pub mod packet;
pub mod plan;
pub mod shape;
pub mod shaper;
