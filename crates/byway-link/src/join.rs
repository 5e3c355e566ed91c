//! Join string: all that a node needs to join another: its address, the key that it must prove, and
//! a grant.
//!
//! In:    `by1.` and 66 bytes in base64url, `@`, HOST:PORT.
//! Out:   the pin, the grant and the address; or which part of the text is wrong.
//! Never: prints its secret, except through [`JoinString::expose`].
//!
//! The bytes are the pin (32), the grant's id (6), its secret (24), and a checksum: the first 4
//! bytes of the SHA-256 of all of these and of `:PORT`. A string that was cut short or mistyped is
//! rejected before any dial. The host is not in the checksum, so that it can be edited by hand
//! where a node has another name or address for its clients. Strings whose checksum covers the
//! whole address, as earlier builds wrote them, are still accepted.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use byway_dial::Target;

use crate::key::{Fingerprint, hex, unhex};

const PREFIX: &str = "by1.";
const PIN: usize = 32;
const ID: usize = 6;
const SECRET: usize = 24;
const CHECK: usize = 4;

/// Identifies a grant, so that it can be listed and revoked without showing its secret: twelve hex
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId([u8; ID]);

impl GrantId {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; ID]) -> Self {
        Self(bytes)
    }

    /// From bytes that were received; `None` if the length is wrong.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; ID] {
        &self.0
    }
}

impl FromStr for GrantId {
    type Err = BadJoin;

    fn from_str(text: &str) -> Result<Self, BadJoin> {
        let mut bytes = [0; ID];
        if unhex(text, &mut bytes) {
            Ok(Self(bytes))
        } else {
            Err(BadJoin::Id(text.into()))
        }
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The secret that authorises the use of the grant: 192 random bits. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct GrantSecret([u8; SECRET]);

impl GrantSecret {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; SECRET]) -> Self {
        Self(bytes)
    }

    /// The secret itself: for the wire and for the join string.
    pub const fn expose(&self) -> &[u8; SECRET] {
        &self.0
    }
}

impl fmt::Debug for GrantSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a node needs to join another one: an address to dial, the fingerprint of the key that the
/// other side must prove, and a grant. `Display` and `Debug` hide the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinString {
    /// The fingerprint that the other side's key must have.
    pub pin: Fingerprint,
    /// The id of the grant.
    pub id: GrantId,
    /// Its secret.
    pub secret: GrantSecret,
    /// The address to dial: a name or an IP address, with its port; never a Unix socket.
    pub address: Target,
}

impl JoinString {
    /// The whole text, including the secret: for stdout and for a file with mode 0600, never for a
    /// log.
    pub fn expose(&self) -> String {
        let mut bytes = self.body();
        let check = checksum(&bytes, &port_of(&self.address));
        bytes.extend_from_slice(&check);
        format!(
            "{PREFIX}{}@{}",
            BASE64_URL_SAFE_NO_PAD.encode(bytes),
            self.address
        )
    }

    fn body(&self) -> Vec<u8> {
        [
            self.pin.as_bytes().as_slice(),
            self.id.as_bytes(),
            self.secret.expose(),
        ]
        .concat()
    }
}

impl fmt::Display for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}***@{} (grant {})", self.address, self.id)
    }
}

impl fmt::Debug for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a valid join string. No variant repeats the text, which holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJoin {
    /// It is empty.
    #[error(
        "the join string is empty: copy the line that `byway serve` or `byway proxy serve` prints"
    )]
    Empty,
    /// It has another beginning.
    #[error(
        "this is not a join string: it must begin with `by1.`, as the line that `byway serve` or `byway proxy serve` prints"
    )]
    NoJoinString,
    /// It has a format that this version does not know.
    #[error("this join string is of a newer format than this version of Byway reads: update Byway")]
    Newer,
    /// The address after `@` is missing or wrong.
    #[error(
        "the join string has no complete address after its `@`: it was cut short; copy it again, whole"
    )]
    Address,
    /// The bytes are too few, too many, or changed.
    #[error(
        "the join string was cut short or changed on its way: copy it again, whole, in one line; only the host after its \
         `@` may be edited (for another port use --advertise where it was made)"
    )]
    Damaged,
    /// The id of a grant is twelve hex digits.
    #[error(
        "`{0}` is not the id of a grant: it has twelve hex digits; `byway token list` shows the ids"
    )]
    Id(String),
}

impl FromStr for JoinString {
    type Err = BadJoin;

    fn from_str(text: &str) -> Result<Self, BadJoin> {
        // The printed line is accepted as a whole.
        let text = text.trim();
        let text = text.strip_prefix("join ").unwrap_or(text).trim_start();
        if text.is_empty() {
            return Err(BadJoin::Empty);
        }
        let Some(rest) = text.strip_prefix(PREFIX) else {
            let digit = text.strip_prefix("by").and_then(|rest| rest.bytes().next());
            let newer = digit.is_some_and(|digit| digit.is_ascii_digit()) && text.contains('.');
            return Err(if newer {
                BadJoin::Newer
            } else {
                BadJoin::NoJoinString
            });
        };
        let (encoded, address) = rest.split_once('@').ok_or(BadJoin::Damaged)?;
        let target = match address.parse::<Target>() {
            Ok(Target::Unix(_)) | Err(_) => return Err(BadJoin::Address),
            Ok(target) => target,
        };
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| BadJoin::Damaged)?;
        let bytes: [u8; PIN + ID + SECRET + CHECK] =
            bytes.try_into().map_err(|_| BadJoin::Damaged)?;
        let (body, check) = bytes.split_at(PIN + ID + SECRET);
        let is_whole = [port_of(&target), target.to_string()]
            .iter()
            .any(|rest| check == checksum(body, rest));
        if !is_whole {
            return Err(BadJoin::Damaged);
        }
        let (pin, rest) = body.split_at(PIN);
        let (id, secret) = rest.split_at(ID);
        let whole = (pin.try_into(), id.try_into(), secret.try_into());
        let (Ok(pin), Ok(id), Ok(secret)) = whole else {
            return Err(BadJoin::Damaged);
        };
        Ok(Self {
            pin: Fingerprint::from_bytes(pin),
            id: GrantId(id),
            secret: GrantSecret(secret),
            address: target,
        })
    }
}

/// The part of the address that the checksum covers.
fn port_of(address: &Target) -> String {
    match address {
        Target::Addr(addr) => format!(":{}", addr.port()),
        Target::Host { port, .. } => format!(":{port}"),
        Target::Unix(_) => String::new(),
    }
}

fn checksum(body: &[u8], rest: &str) -> [u8; CHECK] {
    let sum = digest(&SHA256, &[body, rest.as_bytes()].concat());
    let mut check = [0; CHECK];
    check.copy_from_slice(sum.as_ref().get(..CHECK).unwrap_or(&[0; CHECK]));
    check
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join(address: &str) -> JoinString {
        JoinString {
            pin: Fingerprint::of_spki(b"key"),
            id: GrantId([7; ID]),
            secret: GrantSecret([9; SECRET]),
            address: address.parse().unwrap(),
        }
    }

    #[test]
    fn a_join_string_reads_back_and_hides_its_secret() {
        for address in ["127.0.0.1:7000", "[::1]:7000", "t.example.com:443"] {
            let join = join(address);
            let text = join.expose();
            assert_eq!(text.parse::<JoinString>().unwrap(), join);
            assert_eq!(format!(" {text}\n").parse::<JoinString>().unwrap(), join);
            assert_eq!(
                format!("join {text}\n").parse::<JoinString>().unwrap(),
                join
            );
            assert!(!format!("{join} {join:?}").contains(&text[..40]));
            assert_eq!(
                join.to_string(),
                format!("by1.***@{address} (grant 070707070707)")
            );
        }
    }

    #[test]
    fn the_host_of_a_join_string_can_be_edited_and_nothing_else() {
        let text = join("t.example.com:7000").expose();
        let encoded = text.split_once('@').unwrap().0;
        for address in [
            "other.example:7000",
            "192.0.2.1:7000",
            "[2001:db8::1]:7000",
            "T.EXAMPLE.COM:7000",
        ] {
            assert_eq!(
                format!("{encoded}@{address}")
                    .parse::<JoinString>()
                    .unwrap(),
                join(address)
            );
        }
        for address in [
            "t.example.com:700",
            "t.example.com:70000",
            "t.example.com:7001",
            "192.0.2.1:443",
        ] {
            assert!(
                format!("{encoded}@{address}")
                    .parse::<JoinString>()
                    .is_err(),
                "{address}"
            );
        }
    }

    #[test]
    fn a_join_string_with_the_check_sum_of_earlier_builds_is_read() {
        // Pin 1, 2, … 32, the id of six 7s, the secret of 24 9s, and the checksum of all of it and
        // `t.example.com:7000`.
        let body: Vec<u8> = (1..=32).chain([7; ID]).chain([9; SECRET]).collect();
        let encoded =
            |check: [u8; CHECK]| BASE64_URL_SAFE_NO_PAD.encode([body.as_slice(), &check].concat());
        let old = format!(
            "by1.{}@t.example.com:7000",
            encoded(checksum(&body, "t.example.com:7000"))
        );
        let read = old.parse::<JoinString>().unwrap();
        assert_eq!(
            (read.id, read.address.to_string()),
            (GrantId([7; ID]), "t.example.com:7000".to_owned())
        );
        assert_eq!(
            old.replace("t.example", "u.example").parse::<JoinString>(),
            Err(BadJoin::Damaged)
        );
    }

    #[test]
    fn a_join_string_cut_short_anywhere_is_refused() {
        let text = join("127.0.0.1:7000").expose();
        for end in 0..text.len() {
            let error = text[..end].parse::<JoinString>().unwrap_err();
            assert!(
                !error.to_string().contains(&text[4..12]),
                "{error} repeats the secret"
            );
        }
    }

    #[test]
    fn each_kind_of_invalid_join_string_has_its_own_error() {
        assert_eq!("".parse::<JoinString>(), Err(BadJoin::Empty));
        assert_eq!("hello".parse::<JoinString>(), Err(BadJoin::NoJoinString));
        assert_eq!("by2.AAAA@h:1".parse::<JoinString>(), Err(BadJoin::Newer));
        assert_eq!("by1.AAAA".parse::<JoinString>(), Err(BadJoin::Damaged));
        assert_eq!("by1.AAAA@h:1".parse::<JoinString>(), Err(BadJoin::Damaged));
        assert_eq!("by1.AAAA@h".parse::<JoinString>(), Err(BadJoin::Address));
        assert_eq!(
            "by1.AAAA@unix:/x".parse::<JoinString>(),
            Err(BadJoin::Address)
        );
        assert_eq!("xyz".parse::<GrantId>(), Err(BadJoin::Id("xyz".into())));
        assert_eq!("070707070707".parse::<GrantId>(), Ok(GrantId([7; ID])));
    }

    proptest! {
        #[test]
        fn one_changed_character_is_noticed(at in 4_usize..92, with in "[A-Za-z0-9_-]") {
            let text = join("127.0.0.1:7000").expose();
            let mut changed = text.clone();
            changed.replace_range(at..at + 1, &with);
            prop_assert!(changed == text || changed.parse::<JoinString>().is_err());
        }

        #[test]
        fn no_text_panics(text in "(by1\\.)?.{0,120}") {
            let _ = text.parse::<JoinString>();
        }
    }
}
