//! Priority: which of several waiting streams sends first (RFC 9218).

use std::collections::VecDeque;

/// Bytes that an incremental stream sends at least before the next one has its turn.
pub(crate) const QUANTUM_BYTES: usize = 16 * 1024;

/// The priority of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// 0 (first) to 7 (last). Default 3.
    pub urgency: u8,
    /// Whether it is of use before it is complete, so that it takes turns with others of its
    /// urgency. Those that are not are sent one after the other. Default yes, although RFC 9218 has
    /// no: a client that says nothing about priorities expects that a long response does not stop a
    /// short one.
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self {
            urgency: 3,
            incremental: true,
        }
    }
}

impl Priority {
    /// The value of a Priority field or of a PRIORITY_UPDATE frame: a dictionary of structured
    /// fields (RFC 8941) with `u` and `i`. Members that are unknown or out of range are ignored, and
    /// those that are missing have their default in RFC 9218: urgency 3, not incremental.
    pub fn parse(value: &[u8]) -> Self {
        let mut priority = Self {
            urgency: 3,
            incremental: false,
        };
        for member in value.split(|byte| *byte == b',') {
            // Parameters mean nothing here.
            let member = member
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default();
            match member.trim_ascii() {
                [b'u', b'=', urgency @ b'0'..=b'7'] => priority.urgency = urgency - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }
}

/// Streams that wait for room, by urgency. While nothing waits it costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queues: [VecDeque<u32>; 8],
    len: usize,
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a stream behind those of its urgency.
    pub(crate) fn push(&mut self, slot: u32, priority: Priority) {
        self.queue(priority).push_back(slot);
        self.len += 1;
    }

    /// Adds a stream in front of those of its urgency.
    pub(crate) fn push_first(&mut self, slot: u32, priority: Priority) {
        self.queue(priority).push_front(slot);
        self.len += 1;
    }

    /// The most urgent stream.
    pub(crate) fn first(&self) -> Option<u32> {
        self.queues.iter().find_map(VecDeque::front).copied()
    }

    /// The most urgent stream, which waits no longer.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let slot = self.queues.iter_mut().find_map(VecDeque::pop_front)?;
        self.len -= 1;
        Some(slot)
    }

    /// Removes a stream that waits with this priority.
    pub(crate) fn remove(&mut self, slot: u32, priority: Priority) {
        let queue = self.queue(priority);
        if let Some(at) = queue.iter().position(|waiting| *waiting == slot) {
            queue.remove(at);
            self.len -= 1;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.queues.iter().flatten().copied()
    }

    /// Frees the memory of empty queues.
    pub(crate) fn trim(&mut self) {
        for queue in &mut self.queues {
            queue.shrink_to_fit();
        }
    }

    fn queue(&mut self, priority: Priority) -> &mut VecDeque<u32> {
        &mut self.queues[usize::from(priority.urgency & 7)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_read_from_its_field() {
        for (value, urgency, incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=5, i", 5, true),
            ("i, u=7", 7, true),
            ("i=?1,u=2", 2, true),
            ("i=?0", 3, false),
            ("u=8", 3, false),
            ("u=-1", 3, false),
            ("u=2.5", 3, false),
            ("u=1;x=y, z=\"u\"", 1, false),
            ("\u{ff},=,;;;", 3, false),
        ] {
            let priority = Priority {
                urgency,
                incremental,
            };
            assert_eq!(Priority::parse(value.as_bytes()), priority, "{value}");
        }
    }

    #[test]
    fn the_most_urgent_stream_is_first_and_others_keep_their_order() {
        let of = |urgency| Priority {
            urgency,
            incremental: true,
        };
        let mut waiting = Waiting::default();
        for (slot, urgency) in [(1, 3), (2, 3), (3, 0), (4, 7)] {
            waiting.push(slot, of(urgency));
        }
        waiting.push_first(5, of(3));
        waiting.remove(2, of(3));
        waiting.remove(9, of(3));
        let order: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(order, [3, 5, 1, 4]);
        assert!(waiting.is_empty());
    }
}
