//! Packet: the header fields that a path uses.
//!
//! In:    an IP packet as read from a TUN device, without a link header.
//! Out:   its length, and whether it is UDP.
//! Never: trusts a length within the packet.

/// See the top of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The length of the whole IP packet.
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
    fn udp_is_recognised_in_both_ip_versions_and_not_in_a_truncated_header() {
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
