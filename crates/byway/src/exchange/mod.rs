//! Exchange: one HTTP request in, one response out, nothing forged in between.
//!
//! `forward` tells the story of one request, `attempt` that of one try, `failure` why it failed;
//! `retry` says whether there is another, within a `retry_budget` and with the body that `replay`
//! has kept; `head` says which fields travel, `body` passes the bodies, `answer` is what we say
//! ourselves, `discard` what becomes of an answer that nobody gets, `path` is the one reading of a
//! path, `deadline` limits standstills, `client_gone` ends work for a client that has left,
//! `min_rate` slow downstreams, `conn` is one end's connection, `keep_alive` how long an upstream's
//! is kept, `connection_options` what Connection lists, `max_forwards` counts Max-Forwards down,
//! `date` is now, `scratch` is memory on loan.

pub mod answer;
mod attempt;
pub mod body;
pub mod client_gone;
pub mod conn;
pub mod connection_options;
pub mod date;
pub mod deadline;
pub mod discard;
pub mod failure;
pub mod forward;
pub mod head;
pub mod keep_alive;
pub mod lazy_timer;
pub mod max_forwards;
pub mod min_rate;
pub mod other_protocol;
pub mod path;
mod recall;
pub mod replay;
pub mod request_id;
pub mod retry;
pub mod retry_budget;
pub mod scratch;

#[cfg(test)]
mod tests;
