//! ACME against a real authority (pebble). Each test has a network of its own without a way out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "acme/node.rs"]
mod node;

#[path = "acme/crashes.rs"]
mod crashes;
#[path = "acme/issuing.rs"]
mod issuing;
#[path = "acme/refusals.rs"]
mod refusals;
#[path = "acme/renewal.rs"]
mod renewal;
#[path = "acme/updates.rs"]
mod updates;
