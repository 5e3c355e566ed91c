//! Exchange: one HTTP request in, one response out, nothing forged in between.
//!
//! `forward` tells the story of one request, `attempt` that of one try, `failure` why it failed;
//! `retry` says whether there is another, within a `budget` and with the body that `replay` has
//! kept; `head` says which fields travel, `body` passes the bodies, `answer` is what we say
//! ourselves, `discard` what becomes of an answer that nobody gets, `path` is the one reading of a
//! path, `deadline` limits standstills, `departure` ends work for a client that has left, `pace`
//! slow downstreams, `conn` is one end's connection, `keep` how long an upstream's is kept,
//! `listed` what Connection lists, `hops` counts Max-Forwards down, `date` is now, `recycled` is
//! memory on loan.

pub mod alarm;
pub mod answer;
mod attempt;
pub mod body;
pub mod budget;
pub mod conn;
pub mod date;
pub mod deadline;
pub mod departure;
pub mod discard;
pub mod failure;
pub mod foreign;
pub mod forward;
pub mod head;
pub mod hops;
pub mod keep;
pub mod listed;
pub mod pace;
pub mod path;
mod recall;
pub mod recycled;
pub mod replay;
pub mod request_id;
pub mod retry;

#[cfg(test)]
mod tests;
