//! Exchange: one HTTP request in, one response out, nothing forged in between.
//!
//! `forward` tells the story of one request, `attempt` that of one try; `retry` says whether there is another, within a
//! `budget` and with the body that `replay` has kept; `head` says which fields travel, `body` passes the bodies, `answer`
//! is what we say ourselves, `path` is the one reading of a path, `deadline` limits standstills, `pace` slow downstreams,
//! `conn` is one end's connection.

pub mod answer;
mod attempt;
pub mod body;
pub mod budget;
pub mod conn;
pub mod deadline;
pub mod failure;
pub mod forward;
pub mod head;
pub mod pace;
pub mod path;
pub mod replay;
pub mod retry;

#[cfg(test)]
mod tests;
