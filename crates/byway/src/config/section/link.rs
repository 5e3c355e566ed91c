//! `[link]`.

use byway_link::Congestion;

use super::prelude::*;

keys! {
    /// For every link of this node.
    pub struct Link {} => LinkSettings {
        /// The congestion control of what this node sends on links.
        ///
        /// Each end chooses its own. `"bbr"` keeps its rate on paths that
        /// lose packets, and keeps queues short; `"cubic"` slows down at every loss. A change takes
        /// effect with the next connection of a link.
        congestion: OneOf<Congestion> => Congestion = Congestion::Bbr;
        /// How long after a fall-back to TLS QUIC is tried again, for links that this node dials.
        ///
        /// Then twice as long each time, up to 10 minutes or this, whichever is more. A network that drops UDP rarely
        /// stops within seconds; one with a short outage does.
        quic_probe: Period => Duration = seconds(30), in seconds(1)..=seconds(3600);
        /// How long a visitor of an exposed service waits for an agent that is away.
        ///
        /// From its arrival on; `"0s"` disables parking. An agent that restarts
        /// or changes its network is back within that time: latency instead of an error.
        park: Period => Duration = seconds(15), in Duration::ZERO..=seconds(300);
        /// Visitors that may wait for one name at once.
        ///
        /// Further ones are refused, except that a client with fewer gets the newest slot of the
        /// client with the most; clients are addresses (of IPv6, a /64). HTTP visitors count in
        /// `[pool]`, too: `max_per_origin` of them are parked, the others wait for `queue_wait`.
        parked: Count => usize = 1024, in 1..=65_536;
        /// Streams that the other side may have open on one carrier at once.
        ///
        /// Enough for a busy desk; a peer cannot take all memory. A change takes effect with the
        /// next connection of a link where it is accepted, with the next session where it is
        /// dialled.
        streams: Count => u32 = 8192, in 1..=65_536;
    }
}

impl Words for Congestion {
    const WORDS: &'static [(&'static str, Self)] = &[("bbr", Self::Bbr), ("cubic", Self::Cubic)];
}
