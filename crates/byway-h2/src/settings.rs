//! Settings: what each side announces about itself (RFC 9113 section 6.5).

use crate::error::{ConnectionError, ErrorCode};
use crate::frame::MAX_FRAME_BYTES;
use crate::limits::Limits;
use crate::role::Role;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// What a peer has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Most bytes of the table that this side may make it keep. 4,096 at first.
    pub header_table_bytes: u32,
    /// Most streams that this side may have open. No limit at first.
    pub streams: u32,
    /// Bytes that this side may send on a new stream. 65,535 at first.
    pub window_bytes: u32,
    /// Longest payload of a frame, 16,384 at first; more is never used.
    pub frame_bytes: u32,
    /// Longest head, with 32 bytes more for each field, that it accepts. No limit at first.
    pub head_bytes: u32,
    /// Whether it accepts extended CONNECT (RFC 8441). A server's only.
    pub extended_connect: bool,
    /// Whether its first settings have arrived.
    pub arrived: bool,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            header_table_bytes: 4096,
            streams: u32::MAX,
            window_bytes: 65_535,
            frame_bytes: MAX_FRAME_BYTES as u32,
            head_bytes: u32::MAX,
            extended_connect: false,
            arrived: false,
        }
    }
}

impl PeerSettings {
    /// Applies a payload of settings of a peer of `role`, in their order. Unknown ones are ignored.
    pub(crate) fn apply(&mut self, payload: &[u8], role: Role) -> Result<(), ConnectionError> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(ConnectionError::frame_size("SETTINGS of a wrong length"));
        }
        for [a, b, value @ ..] in settings {
            self.set(
                u16::from_be_bytes([*a, *b]),
                u32::from_be_bytes(*value),
                role,
            )?;
        }
        self.arrived = true;
        Ok(())
    }

    fn set(&mut self, id: u16, value: u32, role: Role) -> Result<(), ConnectionError> {
        match (id, value) {
            (HEADER_TABLE_SIZE, _) => self.header_table_bytes = value,
            (ENABLE_PUSH, 0) => {}
            (ENABLE_PUSH, 1) if role == Role::Client => {}
            (ENABLE_PUSH, _) => return Err(ConnectionError::protocol("an invalid ENABLE_PUSH")),
            (MAX_CONCURRENT_STREAMS, _) => self.streams = value,
            (INITIAL_WINDOW_SIZE, 0..=0x7fff_ffff) => self.window_bytes = value,
            (INITIAL_WINDOW_SIZE, _) => {
                return Err(ConnectionError::new(
                    ErrorCode::FLOW_CONTROL_ERROR,
                    "an INITIAL_WINDOW_SIZE above 2^31-1",
                ));
            }
            (MAX_FRAME_SIZE, 0x4000..=0xff_ffff) => self.frame_bytes = value,
            (MAX_FRAME_SIZE, _) => {
                return Err(ConnectionError::protocol("an invalid MAX_FRAME_SIZE"));
            }
            (MAX_HEADER_LIST_SIZE, _) => self.head_bytes = value,
            // A client says nothing by it. A server may not take it back (RFC 8441 section 3).
            (ENABLE_CONNECT_PROTOCOL, 0) if !self.extended_connect => {}
            (ENABLE_CONNECT_PROTOCOL, 1) => self.extended_connect = role == Role::Server,
            (ENABLE_CONNECT_PROTOCOL, _) => {
                return Err(ConnectionError::protocol(
                    "an invalid ENABLE_CONNECT_PROTOCOL",
                ));
            }
            (NO_RFC7540_PRIORITIES, 0 | 1) => {}
            (NO_RFC7540_PRIORITIES, _) => {
                return Err(ConnectionError::protocol(
                    "an invalid NO_RFC7540_PRIORITIES",
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The payload of this side's settings.
pub(crate) fn own(role: Role, limits: &Limits) -> Vec<u8> {
    let mut payload = Vec::with_capacity(6 * 6);
    let mut set = |id: u16, value: u32| {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    };
    match role {
        Role::Server => {
            set(MAX_CONCURRENT_STREAMS, limits.streams);
            set(NO_RFC7540_PRIORITIES, 1);
            if limits.extended_connect {
                set(ENABLE_CONNECT_PROTOCOL, 1);
            }
        }
        Role::Client => set(ENABLE_PUSH, 0),
    }
    set(INITIAL_WINDOW_SIZE, limits.stream_window_bytes);
    set(
        MAX_HEADER_LIST_SIZE,
        u32::try_from(limits.head.head_bytes).unwrap_or(u32::MAX),
    );
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(settings: &[(u16, u32)], role: Role) -> Result<PeerSettings, ErrorCode> {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut peer = PeerSettings::default();
        peer.apply(&payload, role).map_err(|error| error.code)?;
        Ok(peer)
    }

    #[test]
    fn each_setting_has_its_range() {
        const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
        for (id, value, role, error) in [
            (ENABLE_PUSH, 1, Role::Client, None),
            (ENABLE_PUSH, 2, Role::Client, Some(PROTOCOL)),
            (ENABLE_PUSH, 1, Role::Server, Some(PROTOCOL)),
            (INITIAL_WINDOW_SIZE, 0x7fff_ffff, Role::Client, None),
            (
                INITIAL_WINDOW_SIZE,
                0x8000_0000,
                Role::Client,
                Some(ErrorCode::FLOW_CONTROL_ERROR),
            ),
            (MAX_FRAME_SIZE, 16_383, Role::Client, Some(PROTOCOL)),
            (MAX_FRAME_SIZE, 16_384, Role::Client, None),
            (MAX_FRAME_SIZE, 0xff_ffff, Role::Client, None),
            (MAX_FRAME_SIZE, 0x100_0000, Role::Client, Some(PROTOCOL)),
            (ENABLE_CONNECT_PROTOCOL, 2, Role::Server, Some(PROTOCOL)),
            (NO_RFC7540_PRIORITIES, 2, Role::Client, Some(PROTOCOL)),
            (0xffff, 7, Role::Client, None),
        ] {
            let result = apply(&[(id, value)], role).err();
            assert_eq!(result, error, "{id:#x} {value} {role:?}");
        }
    }

    #[test]
    fn the_last_of_several_values_counts() {
        let peer = apply(
            &[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)],
            Role::Client,
        );
        assert_eq!(peer.map(|peer| peer.window_bytes), Ok(1));
    }

    #[test]
    fn extended_connect_is_not_taken_back() {
        let on = (ENABLE_CONNECT_PROTOCOL, 1);
        let off = (ENABLE_CONNECT_PROTOCOL, 0);
        assert_eq!(
            apply(&[on, off], Role::Server),
            Err(ErrorCode::PROTOCOL_ERROR)
        );
        assert!(apply(&[off, on], Role::Server).is_ok_and(|peer| peer.extended_connect));
    }

    #[test]
    fn own_settings_are_valid_to_the_other_side() {
        for role in [Role::Server, Role::Client] {
            let mut peer = PeerSettings::default();
            peer.apply(&own(role, &Limits::default()), role).unwrap();
            assert_eq!(peer.extended_connect, role == Role::Server);
            assert_eq!(peer.window_bytes, 64 * 1024);
        }
    }
}
