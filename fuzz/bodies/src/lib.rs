//! What the fuzz targets do, as plain functions: a fuzzer calls them with what it invents, a test
//! with the committed corpus. Each holds its parser to its promises with assertions; a find is a
//! panic.

pub mod config;
pub mod differential;
pub mod dns;
pub mod h1;
pub mod link;
pub mod reference;
pub mod socks;
