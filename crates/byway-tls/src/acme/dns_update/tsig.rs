//! TSIG: signs a DNS message with a shared key, and checks the signature of the answer (RFC 8945).

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::UpdateError;
use super::message;

const TSIG: u16 = 250;
const CLASS_ANY: u16 = 255;

/// Seconds that the clocks of both sides may differ.
const FUDGE: u16 = 300;

/// How messages are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha256`
    Sha256,
    /// `hmac-sha384`
    Sha384,
    /// `hmac-sha512`
    Sha512,
}

impl Algorithm {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    /// The algorithm of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name);
        [Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    fn key(self, secret: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, secret)
    }
}

/// A shared key.
#[derive(Clone, PartialEq, Eq)]
pub struct TsigKey {
    /// Its name at the server.
    pub name: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// The secret.
    pub secret: Vec<u8>,
}

impl TsigKey {
    /// Reads a key as `tsig-keygen` prints it, or as `[ALGORITHM:]NAME:SECRET` like nsupdate's -y.
    /// Without an algorithm it is `hmac-sha256`.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, algorithm, secret) = match text.strip_prefix("key") {
            Some(rest) if rest.starts_with([' ', '\t', '"']) => {
                let name = rest.split('{').next()?.trim().trim_matches('"');
                let value = |key: &str| {
                    let after = rest.split_once(key)?.1.split(';').next()?;
                    Some(after.trim().trim_matches('"'))
                };
                (name, value("algorithm")?, value("secret")?)
            }
            _ => {
                let mut parts = text.rsplitn(3, ':');
                let (secret, name) = (parts.next()?, parts.next()?);
                (name, parts.next().unwrap_or("hmac-sha256"), secret)
            }
        };
        let secret = BASE64_STANDARD.decode(secret).ok()?;
        message::name(name).ok()?;
        (!secret.is_empty()).then_some(Self {
            name: name.to_owned(),
            algorithm: Algorithm::from_name(algorithm)?,
            secret,
        })
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The variables that are signed with a message (section 4.3.3).
fn variables(
    key: &TsigKey,
    signed_at: u64,
    fudge: u16,
    error: u16,
    other: &[u8],
) -> Result<Vec<u8>, UpdateError> {
    let mut bytes = message::name(&key.name)?;
    bytes.extend(CLASS_ANY.to_be_bytes());
    bytes.extend([0; 4]); // TTL
    bytes.extend(message::name(key.algorithm.name())?);
    bytes.extend(&signed_at.to_be_bytes()[2..]);
    bytes.extend(fudge.to_be_bytes());
    bytes.extend(error.to_be_bytes());
    bytes.extend((other.len() as u16).to_be_bytes());
    bytes.extend(other);
    Ok(bytes)
}

/// The message with its signature as the last record, and the signature alone.
pub(super) fn sign(
    plain: &[u8],
    key: &TsigKey,
    now: u64,
) -> Result<(Vec<u8>, Vec<u8>), UpdateError> {
    let signed = [plain, &variables(key, now, FUDGE, 0, &[])?].concat();
    let mac = hmac::sign(&key.algorithm.key(&key.secret), &signed);
    let mac = mac.as_ref();
    let mut data = message::name(key.algorithm.name())?;
    data.extend(&now.to_be_bytes()[2..]);
    data.extend(FUDGE.to_be_bytes());
    data.extend((mac.len() as u16).to_be_bytes());
    data.extend(mac);
    data.extend(plain.get(..2).ok_or(UpdateError::Malformed)?);
    data.extend([0; 4]); // error, other length
    let mut out = plain.to_vec();
    let additional = message::read_u16(plain, 10)?.saturating_add(1);
    out[10..12].copy_from_slice(&additional.to_be_bytes());
    out.extend(message::name(&key.name)?);
    out.extend([TSIG, CLASS_ANY].iter().flat_map(|word| word.to_be_bytes()));
    out.extend([0; 4]);
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
    Ok((out, mac.to_vec()))
}

/// Checks an answer to a message that was signed with `request_mac`. Returns it without its
/// signature.
pub(super) fn verify(
    answer: &[u8],
    key: &TsigKey,
    request_mac: &[u8],
    now: u64,
) -> Result<Vec<u8>, UpdateError> {
    let records = message::records(answer)?;
    let last = records.last().filter(|record| record.kind == TSIG);
    let Some(record) = last else {
        // A server that does not know about the key may refuse without a signature.
        return match message::code_of(answer)? {
            0 => Err(UpdateError::Unsigned),
            code => Err(UpdateError::Refused(code)),
        };
    };
    let (name, _) = message::read_name(answer, record.start)?;
    let (algorithm, at) = message::read_name(answer, record.data.start)?;
    let bytes = |range: std::ops::Range<usize>| answer.get(range).ok_or(UpdateError::Malformed);
    let mut signed_at = [0; 8];
    signed_at[2..].copy_from_slice(bytes(at..at + 6)?);
    let signed_at = u64::from_be_bytes(signed_at);
    let fudge = message::read_u16(answer, at + 6)?;
    let mac_length = usize::from(message::read_u16(answer, at + 8)?);
    let mac = bytes(at + 10..at + 10 + mac_length)?;
    let at = at + 10 + mac_length;
    let original_id = bytes(at..at + 2)?;
    let error = message::read_u16(answer, at + 2)?;
    let other_length = usize::from(message::read_u16(answer, at + 4)?);
    let other = bytes(at + 6..at + 6 + other_length)?;
    if at + 6 + other_length != record.data.end || record.data.end != answer.len() {
        return Err(UpdateError::Malformed);
    }
    // Answers with these errors are not signed (section 5.3.2), and change nothing.
    if error == 16 || error == 17 {
        return Err(UpdateError::Key(error));
    }
    let is_ours = name.eq_ignore_ascii_case(key.name.trim_end_matches('.'))
        && algorithm == key.algorithm.name();
    let mut plain = answer[..record.start].to_vec();
    plain[..2].copy_from_slice(original_id);
    let additional = message::read_u16(answer, 10)?;
    plain[10..12].copy_from_slice(&additional.saturating_sub(1).to_be_bytes());
    let signed = [
        &(request_mac.len() as u16).to_be_bytes()[..],
        request_mac,
        &plain,
        &variables(key, signed_at, fudge, error, other)?,
    ]
    .concat();
    let verified = hmac::verify(&key.algorithm.key(&key.secret), &signed, mac);
    if !is_ours || verified.is_err() || (error == 0 && signed_at.abs_diff(now) > u64::from(FUDGE)) {
        return Err(UpdateError::Unsigned);
    }
    match error {
        0 => Ok(plain),
        error => Err(UpdateError::Key(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::dns::Change;

    fn key() -> TsigKey {
        TsigKey::read("hmac-sha256:byway:c2VjcmV0").unwrap()
    }

    #[test]
    fn keys_are_read_as_tsig_keygen_and_nsupdate_write_them_and_are_not_printed() {
        let printed = "key \"byway\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n";
        assert_eq!(TsigKey::read(printed), Some(key()));
        assert_eq!(TsigKey::read("byway:c2VjcmV0\n"), Some(key()));
        let longer = TsigKey::read("hmac-sha512:keys.example:c2VjcmV0").unwrap();
        assert_eq!(
            (&*longer.name, longer.algorithm),
            ("keys.example", Algorithm::Sha512)
        );
        for bad in [
            "",
            "byway",
            "byway:",
            "hmac-md5:a:c2VjcmV0",
            "a..b:c2VjcmV0",
            "key x",
        ] {
            assert_eq!(TsigKey::read(bad), None, "{bad}");
        }
        assert!(
            !format!("{:?}", key()).contains("115"),
            "the bytes of the secret"
        );
    }

    /// An answer, signed as a server does it.
    fn answer(code: u8, request_mac: &[u8], now: u64) -> Vec<u8> {
        let mut plain = message::update(7, "b.c", Change::Add, "a.b.c", "v").unwrap();
        plain[3] |= code;
        let signed = [
            &(request_mac.len() as u16).to_be_bytes()[..],
            request_mac,
            &plain,
            &variables(&key(), now, FUDGE, 0, &[]).unwrap(),
        ]
        .concat();
        let mac = hmac::sign(&key().algorithm.key(&key().secret), &signed);
        let (mut message, own_mac) = sign(&plain, &key(), now).unwrap();
        let at = message
            .windows(own_mac.len())
            .position(|part| part == own_mac)
            .unwrap();
        message[at..at + own_mac.len()].copy_from_slice(mac.as_ref());
        message
    }

    #[test]
    fn an_answer_is_accepted_only_with_the_signature_over_the_request_and_in_time() {
        let good = answer(0, b"mac", 1000);
        let plain = verify(&good, &key(), b"mac", 1100).unwrap();
        assert_eq!(message::code_of(&plain).unwrap(), 0);
        assert!(matches!(
            verify(&good, &key(), b"other", 1000),
            Err(UpdateError::Unsigned)
        ));
        assert!(matches!(
            verify(&good, &key(), b"mac", 2000),
            Err(UpdateError::Unsigned)
        ));
        let mut other = key();
        other.secret = b"other".to_vec();
        assert!(matches!(
            verify(&good, &other, b"mac", 1000),
            Err(UpdateError::Unsigned)
        ));
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let result = verify(&changed, &key(), b"mac", 1000);
            // The id is checked by the caller; class and TTL of the TSIG record are not used.
            let is_unused = at < 2 || (49..55).contains(&at);
            assert!(
                result.is_err() || is_unused,
                "byte {at} was changed unnoticed"
            );
        }
        let plain = message::update(7, "b.c", Change::Add, "a.b.c", "v").unwrap();
        assert!(matches!(
            verify(&plain, &key(), b"mac", 1000),
            Err(UpdateError::Unsigned)
        ));
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_an_error() {
        let good = answer(0, b"mac", 1000);
        for length in 0..good.len() {
            assert!(
                verify(&good[..length], &key(), b"mac", 1000).is_err(),
                "{length}"
            );
        }
    }
}
