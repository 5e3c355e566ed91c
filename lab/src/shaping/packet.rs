//! Packet: the header fields that a path looks at.
//!
//! In:    an IP packet as a TUN device gives it, without a link header.
//! Out:   its length, and whether it is UDP.
//! Never: trusts a length within the packet.

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The whole IP packet.
    pub bytes: usize,
    /// Whether its payload is UDP. Extension headers of IPv6 are not followed.
    pub udp: bool,
}

impl Packet {
    /// Reads the header.
    pub fn of(packet: &[u8]) -> Self {
        const UDP: u8 = 17;
        let protocol = match packet.first().map(|byte| byte >> 4) {
            Some(4) => packet.get(9),
            Some(6) => packet.get(6),
            _ => None,
        };
        Self {
            bytes: packet.len(),
            udp: protocol == Some(&UDP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_is_told_from_tcp_in_both_versions_and_a_fragment_of_a_header_is_neither() {
        let mut four = [0_u8; 28];
        (four[0], four[9]) = (0x45, 17);
        assert_eq!(
            Packet::of(&four),
            Packet {
                bytes: 28,
                udp: true
            }
        );
        four[9] = 6;
        assert!(!Packet::of(&four).udp);
        let mut six = [0_u8; 48];
        (six[0], six[6]) = (0x60, 17);
        assert!(Packet::of(&six).udp);
        assert_eq!(
            Packet::of(&[0x45, 0]),
            Packet {
                bytes: 2,
                udp: false
            }
        );
        assert!(!Packet::of(&[]).udp);
    }
}
