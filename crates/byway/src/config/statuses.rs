//! Statuses: a set of HTTP statuses by which an upstream says that it cannot, 500 to 599.
//!
//! In:    a status as text, or as a number.
//! Out:   whether it is in the set.
//! Never: holds another status: what is not the upstream's own trouble is an answer.

use std::ops::RangeInclusive;

/// See the head of the file. A bit for each, so that it is looked up without memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses(u128);

/// Those that it can hold.
const HELD: RangeInclusive<u16> = 500..=599;

impl Statuses {
    /// Adds the status that `text` says.
    ///
    /// # Errors
    /// In a sentence, when it is none of those that it can hold.
    pub fn insert(&mut self, text: &str) -> Result<(), String> {
        let status = text.parse().ok().filter(|status| HELD.contains(status));
        let status: u16 = status.ok_or_else(|| {
            format!("`{text}` is no status from 500 to 599: write 502, 503 or 504")
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

    /// Those in it, in their order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        HELD.filter(move |status| self.contains(*status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_put_in_and_nothing_else() {
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
