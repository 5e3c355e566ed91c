//! Tests of the exchange by its contracts: complete messages, and every kind of failure.

mod bodies;
mod deadlines;
mod failures;
mod filters;
mod gathering;
mod keeping;
mod messages;
mod rates;
mod recorded;
mod retries;
mod splicing;
mod upgrades;
