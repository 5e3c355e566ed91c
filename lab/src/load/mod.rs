//! Load: what the generator does to a measured program. It runs on the lab's main thread, on its own core.
//!
//! `reach` says how a program is spoken to, `keepalive` asks many small questions, `bulk` moves one large body, `hold`
//! opens connections and lets them idle, `answer` reads responses, `scratch` is the memory that bodies vanish in.

pub(crate) mod answer;
pub(crate) mod bulk;
pub(crate) mod hold;
pub(crate) mod keepalive;
pub(crate) mod reach;
pub(crate) mod scratch;
