//! Grant: the rights of one grant, and the format of its file.
//!
//! Never: holds the secret, only its SHA-256.

use std::io;
use std::ops::RangeInclusive;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
pub use byway_link::Purpose;
use byway_link::{Conflict, Fingerprint, GrantId};

/// The rights of the holder of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Its purpose.
    pub purpose: Purpose,
    /// Public ports that it may use. Default: from 1024.
    pub ports: RangeInclusive<u16>,
    /// What happens when it requests a name that another identity of it holds. Default: refusal.
    pub conflict: Conflict,
    /// When it was created, in seconds since 1970.
    pub created_s: u64,
    /// Whether it was revoked.
    pub revoked: bool,
    pub(super) secret_sha256: [u8; 32],
}

/// The newest format of a grant's file that this version reads. A file without a `format` line has
/// format 1.
const FORMAT: u32 = 1;

/// The SHA-256 of a secret.
pub(super) fn sum(secret: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, secret).as_ref());
    sum
}

/// Whether `secret` is the secret of `grant`. Takes equally long for a grant that does not exist.
pub(super) fn matches(grant: Option<&Grant>, secret: &[u8]) -> bool {
    let expected = grant.map_or([0; 32], |grant| grant.secret_sha256);
    verify_slices_are_equal(&sum(secret), &expected).is_ok() && grant.is_some()
}

impl Grant {
    pub(super) fn text(&self) -> String {
        let conflict = match self.conflict {
            Conflict::Refuse => "refuse",
            Conflict::Share => "share",
            Conflict::Take => "take",
        };
        let sum: String = self
            .secret_sha256
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (from, to) = (self.ports.start(), self.ports.end());
        format!(
            "purpose {}\nsecret-sha256 {sum}\ncreated {}\nports {from}-{to}\nconflict {conflict}\n",
            self.purpose, self.created_s
        )
    }

    /// # Errors
    /// `InvalidData` with the reason.
    pub(super) fn from_text(id: GrantId, text: &str) -> io::Result<Self> {
        let bad = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        };
        if let Some(format) = value("format")
            && format.parse() != Ok(FORMAT)
        {
            return Err(bad(format!(
                "it has format {format}, and this version reads format {FORMAT}: update byway"
            )));
        }
        Self::from_lines(id, value)
            .ok_or_else(|| bad("it is not a grant, or was cut short".to_owned()))
    }

    fn from_lines<'t>(id: GrantId, value: impl Fn(&str) -> Option<&'t str>) -> Option<Self> {
        let purpose = match value("purpose")? {
            "serve" => Purpose::Serve,
            "exit" => Purpose::Exit,
            _ => return None,
        };
        let conflict = match value("conflict")? {
            "refuse" => Conflict::Refuse,
            "share" => Conflict::Share,
            "take" => Conflict::Take,
            _ => return None,
        };
        let secret_sha256 = *Fingerprint::from_hex(value("secret-sha256")?)?.as_bytes();
        let (from, to) = value("ports")?.split_once('-')?;
        let ports = from.parse().ok()?..=to.parse().ok()?;
        let created_s = value("created")?.parse().ok()?;
        Some(Self {
            id,
            purpose,
            ports,
            conflict,
            created_s,
            revoked: false,
            secret_sha256,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_of_a_newer_format_is_refused_with_its_number() {
        let grant = Grant {
            id: GrantId::from_bytes([1; 6]),
            purpose: Purpose::Serve,
            ports: 1024..=2000,
            conflict: Conflict::Take,
            created_s: 7,
            revoked: false,
            secret_sha256: sum(b"secret"),
        };
        assert_eq!(Grant::from_text(grant.id, &grant.text()).unwrap(), grant);
        assert_eq!(
            Grant::from_text(grant.id, &format!("format 1\n{}", grant.text())).unwrap(),
            grant
        );
        let newer = Grant::from_text(grant.id, &format!("format 2\n{}", grant.text())).unwrap_err();
        assert!(newer.to_string().contains("format 2"), "{newer}");
    }
}
