//! The bodies of the fuzz targets, as plain functions: a fuzzer calls them with generated input, a
//! test with the committed corpus. Each checks invariants of its parser with assertions; a finding
//! is a panic.

pub mod config;
pub mod differential;
pub mod dns;
pub mod h1;
pub mod h2;
pub mod hpack;
pub mod link;
pub mod reference;
pub mod socks;
pub mod ws;
