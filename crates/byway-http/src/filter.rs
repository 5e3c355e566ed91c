//! Filter: changes a body on its way from its source to its sink.
//!
//! In:    the data of a body, and its size if that is known.
//! Out:   other data, and its size if that is known in advance.
//! Never: exists for a body that nothing changes.

/// A filter of one body.
pub trait BodyFilter: Send {
    /// Takes some of `input` and appends what it becomes to `out`. Returns how much it took: at
    /// least one byte, unless it appends something. With `end` the body ends with `input`, which is
    /// empty, and everything is appended that is still held back.
    ///
    /// # Errors
    /// If this body cannot be filtered; it is then cut.
    fn poll(&mut self, input: &[u8], end: bool, out: &mut Vec<u8>) -> Result<usize, FilterError>;

    /// The size that a body of this size has behind the filter; `None` where it is not known.
    fn size(&self, of: Option<u64>) -> Option<u64>;
}

/// Makes the filter of one body.
pub type MakeFilter = fn() -> Box<dyn BodyFilter>;

/// Why a body cannot be filtered.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(pub &'static str);

/// A filter, and what it has made that was not sent yet.
pub struct FilterStage {
    filter: Box<dyn BodyFilter>,
    out: Vec<u8>,
    sent: usize,
    ended: bool,
}

impl FilterStage {
    /// A filter that has seen nothing.
    pub fn new(filter: Box<dyn BodyFilter>) -> Self {
        Self {
            filter,
            out: Vec::new(),
            sent: 0,
            ended: false,
        }
    }

    /// What waits to be sent.
    pub fn unsent(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// Marks the first `n` bytes of [`unsent`](Self::unsent) as sent.
    pub fn sent(&mut self, n: usize) {
        self.sent += n;
        if self.sent >= self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
    }

    /// Passes data in. Returns how much of it was taken. Call it only while nothing is unsent: then
    /// no more is held than the filter makes of 16 KiB.
    ///
    /// # Errors
    /// Those of the filter, and if it makes no progress.
    pub fn push(&mut self, data: &[u8]) -> Result<usize, FilterError> {
        let data = data.get(..INPUT_BYTES).unwrap_or(data);
        let taken = self
            .filter
            .poll(data, false, &mut self.out)?
            .min(data.len());
        match taken > 0 || !self.out.is_empty() {
            true => Ok(taken),
            false => Err(FilterError("a filter makes no progress")),
        }
    }

    /// Passes the end in, once. Returns whether it had been before.
    ///
    /// # Errors
    /// Those of the filter.
    pub fn end(&mut self) -> Result<bool, FilterError> {
        if !std::mem::replace(&mut self.ended, true) {
            self.filter.poll(&[], true, &mut self.out)?;
            return Ok(false);
        }
        Ok(true)
    }
}

/// How much data a filter gets at once.
const INPUT_BYTES: usize = 16 * 1024;
