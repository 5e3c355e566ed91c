//! Exchange: one HTTP request in, one response out, nothing forged in between.
//!
//! `forward` tells the story of one request, `attempt` that of one try; `head` says which fields travel, `body` passes the bodies, `answer` is what
//! we say ourselves, `path` is the one reading of a path, `deadline` limits standstills, `hops` counts Max-Forwards down, `date` is now, `conn` is one end's connection.

pub mod answer;
mod attempt;
pub mod body;
pub mod conn;
pub mod date;
pub mod deadline;
pub mod forward;
pub mod head;
pub mod hops;
pub mod path;

#[cfg(test)]
mod tests;
