//! Exchange: one HTTP request in, one response out.
//!
//! `exchange_request` is a request and what was decided about it. `forward` carries it, `attempt` is one try of it, `failure` why a try failed; `retry`
//! decides whether there is another, with the body that `replay` has kept; `head` selects the
//! fields that are passed on, `body` passes the bodies from one side to the other, `answer` writes
//! Byway's own responses. `downstream` and `upstream` are the two sides in any version of HTTP; what
//! is above knows none, and writes heads to `head_out`; `by_version` is
//! where the versions part. `path` is the one interpretation of a path,
//! `deadline` limits pauses, `min_rate` slow clients;
//! `client_gone` ends work for a client that has left, `recall` an exchange that holds up others;
//! `next` is what becomes of the client's connection.
//! `connection_options` is what Connection lists, `max_forwards` counts Max-Forwards down, `other_protocol` recognizes what is
//! not HTTP, `request_id` names a request, `date` is the current time.

#[macro_use]
mod by_version;

pub mod answer;
mod attempt;
pub mod body;
pub mod client_gone;
pub mod connection_options;
pub mod date;
pub mod deadline;
#[cfg(test)]
pub mod double;
pub mod downstream;
pub mod exchange_request;
pub mod failure;
pub mod forward;
pub mod grpc;
pub mod h2_upstream;
pub mod head;
pub mod head_out;
pub mod max_forwards;
pub mod min_rate;
pub mod next;
pub mod other_protocol;
pub mod path;
mod recall;
pub mod replay;
pub mod request_id;
pub mod retry;
pub mod upstream;
mod websocket;

#[cfg(test)]
mod tests;
