//! Load: what the generator does to a measured program. It runs on the lab's main thread, on its
//! own core.
//!
//! `reach` says how a program is spoken to, `request` what is asked; `keepalive` asks as fast as it
//! is answered, `paced` at a rate; `bulk` moves one large body, `flow` watches one for a time,
//! `hold` opens connections and lets them idle, `visits` opens one for each small request,
//! `websocket` has messages echoed, `slowloris` sends heads that never end; `answer` reads
//! responses, `scratch` is the memory that bodies vanish in.

pub(crate) mod answer;
pub(crate) mod bulk;
pub(crate) mod flow;
pub(crate) mod hold;
pub(crate) mod keepalive;
pub(crate) mod paced;
pub(crate) mod reach;
pub(crate) mod request;
pub(crate) mod scratch;
pub(crate) mod slowloris;
pub(crate) mod visits;
pub(crate) mod websocket;
