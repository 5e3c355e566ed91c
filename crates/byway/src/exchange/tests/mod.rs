//! Tests of the exchange by its contracts: messages that are whole, and everything that can go
//! wrong.

mod bodies;
mod deadlines;
mod failures;
mod gathering;
mod keeping;
mod messages;
mod rates;
mod recorded;
mod retries;
mod splicing;
mod upgrades;
