//! Pseudo: pseudo-headers, each at most once and before all fields (RFC 9113 section 8.3).

use crate::error::Malformed;
use crate::section::{Section, Span};

/// The value of one pseudo-header.
pub(super) struct Pseudo {
    name: &'static str,
    value: Option<Span>,
}

impl Pseudo {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, value: None }
    }

    /// Keeps a value. `section` has the fields so far.
    pub(super) fn set(&mut self, value: Span, section: &Section) -> Result<(), Malformed> {
        if !section.is_empty() {
            return Err(Malformed::PseudoAfterField);
        }
        match self.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(Malformed::PseudoRepeated { name: self.name }),
        }
    }

    /// The value, which may be empty.
    pub(super) fn value(&self) -> Option<Span> {
        self.value
    }

    /// The value, which the message must have.
    pub(super) fn needed(&self) -> Result<Span, Malformed> {
        self.value
            .filter(|value| !value.is_empty())
            .ok_or(Malformed::PseudoMissing { name: self.name })
    }

    /// Fails if the message has it.
    pub(super) fn unexpected(&self) -> Result<(), Malformed> {
        match self.value {
            None => Ok(()),
            Some(_) => Err(Malformed::PseudoUnexpected { name: self.name }),
        }
    }
}
