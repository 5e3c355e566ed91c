//! Credentials: who uses an egress: user and password, by Basic authentication or by SOCKS.
//!
//! In:    the credentials of a request, the users of its listener.
//! Out:   the name of the user.
//! Never: compares a password byte by byte, or hashes one that is longer than any user's.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use byway_head::Request;

use crate::config::{EgressPlan, LoginDigest, MOST_CREDENTIAL_BYTES};
use crate::fault::{Fault, Reason, Who};
use crate::observe::counters::Counters;

/// The user of a request, by Proxy-Authorization, if the listener has users.
///
/// # Errors
/// `Unauthorized` (407) when credentials are missing or wrong.
pub fn authenticate(
    request: &Request<'_>,
    egress: &EgressPlan,
    counters: &Counters,
) -> Result<Option<Arc<str>>, Fault> {
    if egress.users.is_empty() {
        return Ok(None);
    }
    let given = match request.field("Proxy-Authorization") {
        Some(value) if value.len() > MOST_BASIC_BYTES => {
            counters.auth_failures.add(1);
            return Err(unauthorized(WRONG_CREDENTIALS));
        }
        value => value.and_then(basic_credentials),
    };
    let Some((name, password)) = given else {
        return Err(unauthorized(NO_CREDENTIALS));
    };
    check_password(egress, &name, &password, counters).map(Some)
}

/// The user of a request that has this name and its password, if the listener has users.
///
/// # Errors
/// As for [`authenticate`].
pub fn with_correct_password(
    egress: &EgressPlan,
    name: Option<&str>,
) -> Result<Option<Arc<str>>, Fault> {
    if egress.users.is_empty() {
        return Ok(None);
    }
    let name = name.ok_or_else(|| unauthorized(NO_CREDENTIALS))?;
    let user = egress.users.iter().find(|user| *user.name == *name);
    user.map(|user| Some(Arc::clone(&user.name)))
        .ok_or_else(|| unauthorized(WRONG_CREDENTIALS))
}

/// The longest field value that is decoded: twice the size of the longest name and password, for
/// padding and spaces.
const MOST_BASIC_BYTES: usize = 4 * MOST_CREDENTIAL_BYTES * 4 / 3;

fn basic_credentials(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    Some((
        decoded.get(..colon)?.to_vec(),
        decoded.get(colon + 1..)?.to_vec(),
    ))
}

/// The user of that name, if the password is correct. The credentials are hashed once, whatever the
/// number of users, and the digest is compared with that of every user, which the Plan holds: the
/// time of an attempt reveals neither which names exist nor how much of a password was correct.
/// Names and passwords above the limit are refused without hashing.
///
/// # Errors
/// `Unauthorized`, the same for an unknown name and for a wrong password.
pub fn check_password(
    egress: &EgressPlan,
    name: &[u8],
    password: &[u8],
    counters: &Counters,
) -> Result<Arc<str>, Fault> {
    let mut found = None;
    if let Some(given) = LoginDigest::of(name, password) {
        for user in &egress.users {
            if user.accepts(&given) {
                found = Some(Arc::clone(&user.name));
            }
        }
    }
    found.ok_or_else(|| {
        counters.auth_failures.add(1);
        unauthorized(WRONG_CREDENTIALS)
    })
}

const NO_CREDENTIALS: &str =
    "this egress requires a user and a password (Proxy-Authorization: Basic)";
const WRONG_CREDENTIALS: &str = "the user or the password is wrong";

fn unauthorized(detail: &'static str) -> Fault {
    Fault::new(Who::Downstream, Reason::Unauthorized, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Role, hashed};

    #[test]
    fn a_wrong_password_is_hashed_once_for_any_number_of_users_and_a_long_one_is_not_hashed() {
        for count in [1, 1000] {
            let users: Vec<_> = (0..count)
                .map(|n| format!("{{ name = \"u{n}\", password = \"p{n}\" }}"))
                .collect();
            let text = format!(
                "[[proxy]]\nlisten = \":1\"\nusers = [{}]\n",
                users.join(", ")
            );
            let plan = crate::testing::plan(&text);
            let Role::Egress(egress) = &plan.listeners[0].frontend.role else {
                panic!("no egress")
            };
            let counters = Counters::default();
            let try_login = |name: &[u8], password: &[u8]| {
                let before = hashed::so_far();
                let user = check_password(egress, name, password, &counters);
                (
                    user.ok().map(|user| user.to_string()),
                    hashed::so_far() - before,
                )
            };
            let last = format!("{}", count - 1);
            let right = try_login(format!("u{last}").as_bytes(), format!("p{last}").as_bytes());
            assert_eq!(right, (Some(format!("u{last}")), 1));
            assert_eq!(try_login(b"u0", b"p1"), (None, 1));
            assert_eq!(try_login(b"unknown", b"p0"), (None, 1));
            assert_eq!(try_login(b"u0", &[b'x'; 47_000]), (None, 0));
            assert_eq!(try_login(&[b'u'; 256], b"p0"), (None, 0));
            assert_eq!(counters.auth_failures.value(), 4);
        }
    }

    #[test]
    fn the_longest_credentials_of_a_configuration_fit_into_a_field_that_is_decoded() {
        let longest = BASE64_STANDARD.encode([&[b'u'; 255][..], b":", &[b'p'; 255]].concat());
        assert!("Basic ".len() + longest.len() <= MOST_BASIC_BYTES);
    }
}
