//! Record: the file that keeps the names of tenants across restarts, one line per name.
//!
//! In:    leases, or the bytes that an earlier process has written.
//! Out:   the bytes, or the leases and how many lines could not be parsed.
//! Never: drops a line that it cannot parse, and never reads a format that it does not know.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Entry, Leases, Name, Past};
use crate::join::GrantId;
use crate::key::Fingerprint;

/// The format that is written, and the newest that is read; also that of files without a format
/// line.
const FORMAT: u32 = 1;

/// The start of the format line, before the number.
const HEAD: &str = "# format ";

/// The longest such line, in bytes.
pub(super) const HEAD_BYTES: usize = 32;

/// The file was written by a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has format {found}, and this version reads format {FORMAT}: update byway, or give it another state folder"
)]
pub struct NewerFormat {
    /// Its format.
    pub found: u64,
}

/// Lines that could not be parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// How many.
    pub lines: usize,
    /// The number of the first one, from 1.
    pub first: usize,
}

/// The longest line of a name, in bytes: three numbers of at most 20 digits, a grant, an identity,
/// and the spaces between.
pub(super) fn most_bytes(name: &Name, label: &str) -> usize {
    let what = match name {
        Name::Http(host) => host.len(),
        // Brackets, an IPv6 address and a port.
        Name::Tcp(_) => 48,
    };
    "http ".len()
        + what
        + " ".len()
        + 12
        + " ".len()
        + 64
        + 3 * " 18446744073709551615".len()
        + 1
        + label.len()
        + 1
}

/// See [`Leases::snapshot`].
#[derive(Debug)]
pub struct Snapshot {
    names: Vec<Copied>,
    unread: Vec<Vec<u8>>,
}

/// One name of a [`Snapshot`].
#[derive(Debug)]
struct Copied {
    name: Name,
    tenant: GrantId,
    past: Past,
    is_held: bool,
}

impl Snapshot {
    /// The bytes of the file. A name that was held at the snapshot was last held at `now_s`.
    pub fn to_bytes(&self, now_s: u64) -> Vec<u8> {
        let mut lines: Vec<String> = self
            .names
            .iter()
            .map(|copied| line(copied, now_s))
            .collect();
        lines.sort();
        let mut bytes = format!("{HEAD}{FORMAT}\n{}", lines.concat()).into_bytes();
        for unread in &self.unread {
            bytes.extend(unread);
            bytes.push(b'\n');
        }
        bytes
    }
}

impl Leases {
    /// The state to keep across a restart. A name that is held now was last held at `now_s`.
    pub fn save(&self, now_s: u64) -> Vec<u8> {
        self.snapshot().to_bytes(now_s)
    }

    /// A copy of the state to keep across a restart, to be formatted without a lock.
    pub fn snapshot(&self) -> Snapshot {
        let copied = self.names.iter().map(|(name, entry)| Copied {
            name: name.clone(),
            tenant: entry.tenant,
            past: entry.past.clone(),
            is_held: !entry.holders.is_empty(),
        });
        Snapshot {
            names: copied.collect(),
            unread: self.unread.clone(),
        }
    }

    /// Parses what an earlier process has saved.
    ///
    /// # Errors
    /// [`NewerFormat`].
    pub fn restore(bytes: &[u8]) -> Result<(Self, Unread), NewerFormat> {
        let mut leases = Self::default();
        let mut unread = Unread::default();
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() || line.starts_with(b"#") {
                check_format(line)?;
                continue;
            }
            match from_line(line) {
                Some((name, entry)) => leases.insert(name, entry),
                None => {
                    unread.first = if unread.lines == 0 {
                        number + 1
                    } else {
                        unread.first
                    };
                    unread.lines += 1;
                    leases.bytes += line.len() + 1;
                    leases.unread.push(line.to_owned());
                }
            }
        }
        Ok((leases, unread))
    }

    /// Adds the names of `other` that are not known here, as far as there is room.
    pub fn merge(&mut self, other: Self) {
        for (name, entry) in other.names {
            if !self.names.contains_key(&name) && self.has_room(entry.tenant) {
                self.insert(name, entry);
            }
        }
        self.bytes += other
            .unread
            .iter()
            .map(|line| line.len() + 1)
            .sum::<usize>();
        self.bytes = self
            .bytes
            .saturating_sub(self.unread.iter().map(|line| line.len() + 1).sum());
        self.unread = other.unread;
    }
}

fn check_format(line: &[u8]) -> Result<(), NewerFormat> {
    let number = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix(HEAD)?.trim().parse().ok());
    match number {
        Some(found) if found != u64::from(FORMAT) => Err(NewerFormat { found }),
        _ => Ok(()),
    }
}

/// `http app.t.example.com GRANT IDENTITY LAST-HELD EPOCH ATTEMPT LABEL`: the label is last, as it
/// may hold anything but a line end.
fn line(copied: &Copied, now_s: u64) -> String {
    let Copied {
        name,
        tenant,
        past,
        is_held,
    } = copied;
    let (kind, what) = match name {
        Name::Http(host) => ("http", host.clone()),
        Name::Tcp(address) => ("tcp", address.to_string()),
    };
    let (epoch, attempt) = past.fence;
    let last_held_s = if *is_held {
        past.last_held_s.max(now_s)
    } else {
        past.last_held_s
    };
    let label = past.label.replace(['\n', '\r'], " ");
    format!(
        "{kind} {what} {tenant} {} {last_held_s} {epoch} {attempt} {label}\n",
        past.last
    )
}

/// Only the label may hold bytes that are not ASCII or UTF-8.
fn from_line(line: &[u8]) -> Option<(Name, Entry)> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.splitn(8, ' ');
    let (kind, what) = (words.next()?, words.next()?);
    let is_plain = !what.is_empty() && what.bytes().all(|byte| byte.is_ascii_graphic());
    let name = match kind {
        "http" if is_plain => Name::Http(what.to_owned()),
        "tcp" => Name::Tcp(address(what)?),
        _ => return None,
    };
    let tenant = words.next()?.parse().ok()?;
    let last = Fingerprint::from_hex(words.next()?)?;
    let mut number = || words.next()?.parse().ok();
    let (last_held_s, epoch, attempt) = (number()?, number()?, number()?);
    // A replaced byte must not make the label longer than it was written.
    let label = words.next().unwrap_or_default().replace('\u{fffd}', "?");
    let past = Past {
        last,
        fence: (epoch, attempt),
        label,
        last_held_s,
        given_up: false,
    };
    Some((
        name,
        Entry {
            tenant,
            past,
            round_robin: 0,
            holders: Vec::new(),
        },
    ))
}

/// A port alone, as earlier versions wrote it, is that port on every address.
fn address(what: &str) -> Option<SocketAddr> {
    let alone = || {
        Some(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            what.parse().ok()?,
        ))
    };
    what.parse().ok().or_else(alone)
}
