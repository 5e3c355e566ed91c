//! Flow: what each side may send, on a stream and on the connection (RFC 9113 section 5.2).

/// The largest window.
const MOST: i64 = i32::MAX as i64;

/// A window that the peer has granted. A change of its settings may make it negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendWindow(i64);

impl SendWindow {
    pub(crate) fn new(bytes: u32) -> Self {
        Self(i64::from(bytes))
    }

    /// Bytes that may be sent now.
    pub(crate) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    pub(crate) fn sent(&mut self, n: usize) {
        self.0 -= n as i64;
    }

    /// Adds to it; false if it becomes larger than 2^31-1.
    pub(crate) fn add(&mut self, bytes: i64) -> bool {
        self.0 += bytes;
        self.0 <= MOST
    }
}

/// A window that this side grants. Each of its bytes is one that the peer may send, one that was
/// received and not returned yet, or one that was returned and not announced yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceiveWindow {
    size: u32,
    available: u32,
    /// Received and not returned.
    held: u32,
    /// Returned and not announced.
    unannounced: u32,
}

impl ReceiveWindow {
    /// A window of which the peer knows.
    pub(crate) fn new(size: u32) -> Self {
        Self {
            size,
            available: size,
            held: 0,
            unannounced: 0,
        }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Bytes that the peer may send.
    pub(crate) fn available(&self) -> u32 {
        self.available
    }

    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// Bytes of a frame have been announced by its header; false if that is too much.
    pub(crate) fn receive(&mut self, n: usize) -> bool {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        match self.available.checked_sub(n) {
            Some(left) => {
                self.available = left;
                self.held += n;
                true
            }
            None => false,
        }
    }

    /// Returns bytes, as many as are held at most. Returns how many that were.
    pub(crate) fn give_back(&mut self, n: usize) -> u32 {
        let n = u32::try_from(n).unwrap_or(u32::MAX).min(self.held);
        self.held -= n;
        self.unannounced += n;
        n
    }

    /// Makes it larger.
    pub(crate) fn grow(&mut self, size: u32) {
        let more = size.saturating_sub(self.size);
        self.size += more;
        self.unannounced += more;
    }

    /// Whether so much can be announced that it is worth a frame: half of the window.
    pub(crate) fn is_worth_announcing(&self, withheld: u32) -> bool {
        let free = self.unannounced.saturating_sub(withheld);
        free > 0 && free >= self.size / 2
    }

    /// The increment to announce; `withheld` bytes of it wait.
    pub(crate) fn announce(&mut self, withheld: u32) -> u32 {
        let free = self.unannounced.saturating_sub(withheld);
        self.unannounced -= free;
        self.available += free;
        free
    }

    pub(crate) fn check_invariants(&self) {
        let sum = u64::from(self.available) + u64::from(self.held) + u64::from(self.unannounced);
        assert_eq!(sum, u64::from(self.size), "a window of {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_becomes_negative_by_settings_and_stays_below_its_limit() {
        let mut window = SendWindow::new(100);
        window.sent(60);
        assert!(window.add(-80));
        assert_eq!(window.bytes(), 0);
        assert!(window.add(50));
        assert_eq!(window.bytes(), 10);
        assert!(window.add(MOST - 10));
        assert!(!window.add(1));
    }

    #[test]
    fn what_is_returned_is_announced_by_halves() {
        let mut window = ReceiveWindow::new(100);
        assert!(window.receive(70) && !window.receive(31));
        assert_eq!(window.give_back(49), 49);
        assert!(!window.is_worth_announcing(0));
        assert_eq!(window.give_back(49), 21);
        assert!(window.is_worth_announcing(0) && !window.is_worth_announcing(30));
        assert_eq!(window.announce(30), 40);
        window.check_invariants();
        window.grow(200);
        assert_eq!(window.announce(0), 130);
        assert!(window.receive(200));
        window.check_invariants();
    }
}
