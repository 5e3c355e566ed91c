//! Statuses: a set of HTTP statuses from 500 to 599.
//!
//! In:    a status as text, or as a number.
//! Out:   whether it is in the set.
//! Never: holds another status: only these report a failure of the upstream.

use std::ops::RangeInclusive;

/// A set of HTTP statuses from 500 to 599. One bit for each status, so that it allocates nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses(u128);

/// The statuses that it can hold.
const HELD: RangeInclusive<u16> = 500..=599;

impl Statuses {
    /// Adds the status in `text`.
    ///
    /// # Errors
    /// A sentence, if it is not from 500 to 599.
    pub fn insert(&mut self, text: &str) -> Result<(), String> {
        let status = text.parse().ok().filter(|status| HELD.contains(status));
        let status: u16 = status.ok_or_else(|| {
            format!("`{text}` is not a status from 500 to 599: write 502, 503 or 504")
        })?;
        self.0 |= 1 << (status - HELD.start());
        Ok(())
    }

    /// Whether `status` is in it.
    pub fn contains(self, status: u16) -> bool {
        HELD.contains(&status) && self.0 & 1 << (status - HELD.start()) != 0
    }

    /// Whether none is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The statuses in it, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        HELD.filter(move |status| self.contains(*status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_inserted_statuses_only() {
        let mut statuses = Statuses::default();
        assert!(statuses.is_empty());
        for text in ["599", "503", "500", "503"] {
            statuses.insert(text).unwrap();
        }
        assert_eq!(statuses.iter().collect::<Vec<_>>(), [500, 503, 599]);
        assert!(
            (0..=u16::MAX)
                .filter(|status| statuses.contains(*status))
                .eq([500, 503, 599])
        );
        for text in ["499", "600", "5xx", "", "-503"] {
            assert!(statuses.insert(text).is_err(), "{text}");
        }
    }
}
