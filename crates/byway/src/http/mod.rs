//! Http: HTTP/1 connections over streams, whichever side they are of.
//!
//! `conn` is one end of a connection, `scratch` the memory that a message borrows while it passes.

pub mod conn;
pub mod scratch;
