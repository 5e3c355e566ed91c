//! Login: the users of an egress, and what authentication compares: a digest of a name and a
//! password.
//!
//! In:    a name and a password, of the configuration or of a client.
//! Out:   one digest for both, computed once; whether two of them are the same, in constant time.
//! Never: hashes more than the longest name and password that a configuration may have.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256};

use super::secret::Secret;

/// The longest name and the longest password: what SOCKS5 can carry (RFC 1929).
pub const MOST_CREDENTIAL_BYTES: usize = 255;

/// Who may use an egress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPlan {
    /// 1 to 255 bytes, without a colon.
    pub name: Arc<str>,
    /// 1 to 255 bytes.
    pub password: Secret,
    /// The digest of both; none if one of them is too long, which refuses the Plan.
    digest: Option<LoginDigest>,
}

impl UserPlan {
    /// Computes the digest that [`accepts`](Self::accepts) compares.
    pub fn new(name: &str, password: Secret) -> Self {
        let digest = LoginDigest::of(name.as_bytes(), password.expose().as_bytes());
        Self {
            name: name.into(),
            password,
            digest,
        }
    }

    /// Whether `given` is the digest of this name and password. Takes the same time whether or not
    /// it is.
    pub fn accepts(&self, given: &LoginDigest) -> bool {
        self.digest
            .as_ref()
            .is_some_and(|digest| digest.matches(given))
    }
}

/// The digest of one name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginDigest([u8; 32]);

impl LoginDigest {
    /// `None` if the name or the password is longer than any that a configuration may have.
    pub fn of(name: &[u8], password: &[u8]) -> Option<Self> {
        let name_bytes = u8::try_from(name.len()).ok()?;
        if password.len() > MOST_CREDENTIAL_BYTES {
            return None;
        }
        #[cfg(test)]
        hashed::count();
        let mut context = Context::new(&SHA256);
        // The length of the name separates `a` + `bc` from `ab` + `c`.
        context.update(&[name_bytes]);
        context.update(name);
        context.update(password);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Some(Self(digest))
    }

    /// Whether both are of the same name and password. Takes the same time whatever they differ in.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// Not printed: the digest of a short password can be reversed by search.
impl fmt::Debug for LoginDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How many digests this thread has computed.
#[cfg(test)]
pub mod hashed {
    use std::cell::Cell;

    thread_local!(static COUNT: Cell<usize> = const { Cell::new(0) });

    pub(super) fn count() {
        COUNT.set(COUNT.get() + 1);
    }

    /// So far.
    pub fn so_far() -> usize {
        COUNT.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_matches_the_same_name_and_password_only() {
        let digest = LoginDigest::of(b"ab", b"c").unwrap();
        assert!(digest.matches(&LoginDigest::of(b"ab", b"c").unwrap()));
        for (name, password) in [
            ("a", "bc"),
            ("abc", ""),
            ("", "abc"),
            ("ab", "C"),
            ("ab", "cc"),
            ("AB", "c"),
        ] {
            let other = LoginDigest::of(name.as_bytes(), password.as_bytes()).unwrap();
            assert!(!digest.matches(&other), "{name}:{password}");
        }
        assert_eq!(format!("{digest:?}"), "***");
    }

    #[test]
    fn a_name_or_a_password_above_255_bytes_is_not_hashed() {
        let (longest, longer) = ([b'x'; 255], [b'x'; 256]);
        assert!(LoginDigest::of(&longest, &longest).is_some());
        assert!(LoginDigest::of(&longer, b"x").is_none());
        assert!(LoginDigest::of(b"x", &longer).is_none());
    }
}
