//! Secret: a password or a join string that does not print itself.
//!
//! In:    a password or a join string as written or as read from a file.
//! Out:   `***` when printed; the text only through [`Secret::expose`].
//! Never: shows itself through `Debug` or `Display`.

use std::fmt;
use std::sync::Arc;

/// A password; cheap to clone.
///
/// `==` is for comparing two Plans. It is not constant-time: authentication compares digests
/// instead.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Hides `text`.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The password itself, for authentication only: never for a log, an error or a page.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_three_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }
}
