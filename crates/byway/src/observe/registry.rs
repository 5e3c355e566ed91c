//! Registry: who has metrics to print.
//!
//! In:    collectors, in the order in which they print.
//! Out:   the exposition of one moment. Numbers of different families may be of slightly different
//!        moments.
//! Never: two collectors with a family of one name.

use std::sync::Arc;

use super::exposition::{Collect, Exposition, FamilyHead};

/// The collectors whose metrics a node exposes, in the order in which they are printed. No two of
/// them may have a family of the same name.
#[derive(Default)]
pub struct MetricsRegistry(Vec<Arc<dyn Collect>>);

impl MetricsRegistry {
    /// With these collectors.
    pub fn new(collectors: Vec<Arc<dyn Collect>>) -> Self {
        Self(collectors)
    }

    /// Everything that they print now.
    pub fn text(&self) -> String {
        self.collected().into_text()
    }

    /// The families that they print, with the names of their labels.
    pub fn families(&self) -> Vec<FamilyHead> {
        self.collected().families().to_vec()
    }

    fn collected(&self) -> Exposition {
        let mut out = Exposition::default();
        self.0
            .iter()
            .for_each(|collector| collector.collect(&mut out));
        out
    }
}

#[cfg(test)]
mod tests;
