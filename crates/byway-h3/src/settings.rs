//! Settings: what both sides announce first (RFC 9114 section 7.2.4, RFC 9204 section 5, RFC 9220).

use crate::error::{ConnectionError, ErrorCode};
use crate::frame::{kind, write_header};
use crate::limits::Limits;
use crate::varint;

const QPACK_MAX_TABLE_CAPACITY: u64 = 0x1;
const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
const QPACK_BLOCKED_STREAMS: u64 = 0x7;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x8;

/// What RFC 9114 section 4.2.2 counts for each field beside its name and value.
const FIELD_OVERHEAD: usize = 32;

/// What the peer has announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerSettings {
    /// The largest head that it accepts, each field counted with 32 bytes more; none if it has no
    /// limit.
    pub field_section_bytes: Option<u64>,
    /// Whether it accepts extended CONNECT (RFC 9220).
    pub extended_connect: bool,
}

impl PeerSettings {
    /// Reads the payload of SETTINGS. Settings that are not known are ignored.
    pub(crate) fn read(mut payload: &[u8]) -> Result<Self, ConnectionError> {
        let mut settings = Self::default();
        let mut seen = 0u16;
        while !payload.is_empty() {
            let (id, value) = take_pair(&mut payload).ok_or(ConnectionError::new(
                ErrorCode::FRAME_ERROR,
                "SETTINGS that end within a setting",
            ))?;
            let invalid = |reason| Err(ConnectionError::new(ErrorCode::SETTINGS_ERROR, reason));
            match id {
                0x2..=0x5 => return invalid("a setting of HTTP/2"),
                MAX_FIELD_SECTION_SIZE => settings.field_section_bytes = Some(value),
                ENABLE_CONNECT_PROTOCOL if value > 1 => return invalid("a setting out of range"),
                ENABLE_CONNECT_PROTOCOL => settings.extended_connect = value == 1,
                QPACK_MAX_TABLE_CAPACITY | QPACK_BLOCKED_STREAMS => {}
                _ => continue,
            }
            if seen >> id & 1 == 1 {
                return invalid("a setting that occurs twice");
            }
            seen |= 1 << id;
        }
        Ok(settings)
    }
}

fn take_pair(payload: &mut &[u8]) -> Option<(u64, u64)> {
    let (id, id_len) = varint::read(payload)?;
    let (value, value_len) = varint::read(payload.get(id_len..)?)?;
    *payload = payload.get(id_len + value_len..)?;
    Some((id, value))
}

/// Appends SETTINGS of this side. Tables of QPACK have size 0, which is the default.
pub(crate) fn write(out: &mut Vec<u8>, limits: &Limits, accepts_requests: bool) {
    let most = limits.head.head_bytes + limits.head.fields.saturating_mul(FIELD_OVERHEAD);
    let mut payload = Vec::new();
    varint::write(&mut payload, MAX_FIELD_SECTION_SIZE);
    varint::write(&mut payload, (most as u64).min(varint::MOST));
    if accepts_requests && limits.extended_connect {
        varint::write(&mut payload, ENABLE_CONNECT_PROTOCOL);
        varint::write(&mut payload, 1);
    }
    write_header(out, kind::SETTINGS, payload.len() as u64);
    out.extend_from_slice(&payload);
}
