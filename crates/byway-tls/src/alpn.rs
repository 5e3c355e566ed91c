//! Alpn: which of several protocols on one port a ClientHello asks for (RFC 7301).
//!
//! In:    the protocols that a client offers.
//! Out:   what serves them.
//! Never: guesses: a client that offers protocols of two kinds is refused.

use rustls::AlertDescription;

/// Protocols that are served in the same way, for example `h2` and `http/1.1`.
#[derive(Clone, Debug)]
pub struct Family<T> {
    /// Their names, as in a ClientHello.
    pub protocols: &'static [&'static [u8]],
    /// What serves them.
    pub served_by: T,
}

/// The family that a client asks for. Protocols that no family has are ignored, as clients may
/// offer some that are unknown on purpose (RFC 8701). Without ALPN, and if no family has any of the
/// offered protocols, the answer is `without`.
///
/// # Errors
/// `no_application_protocol` if the offer has protocols of two families, or if it has none and
/// there is no `without`.
pub fn choose<'f, 'o, T>(
    families: &'f [Family<T>],
    offered: impl Iterator<Item = &'o [u8]>,
    without: Option<&'f T>,
) -> Result<&'f T, AlertDescription> {
    let mut chosen: Option<&Family<T>> = None;
    for protocol in offered {
        let Some(family) = families
            .iter()
            .find(|family| family.protocols.contains(&protocol))
        else {
            continue;
        };
        match chosen {
            Some(earlier) if !std::ptr::eq(earlier, family) => {
                return Err(AlertDescription::NoApplicationProtocol);
            }
            _ => chosen = Some(family),
        }
    }
    chosen
        .map(|family| &family.served_by)
        .or(without)
        .ok_or(AlertDescription::NoApplicationProtocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILIES: &[Family<&str>] = &[
        Family {
            protocols: &[b"h2", b"http/1.1"],
            served_by: "web",
        },
        Family {
            protocols: &[b"byway/1"],
            served_by: "link",
        },
    ];

    fn chosen(offered: &[&str], without: Option<&'static &'static str>) -> Option<&'static str> {
        let offered = offered.iter().map(|protocol| protocol.as_bytes());
        choose(FAMILIES, offered, without).ok().copied()
    }

    #[test]
    fn the_offered_protocols_choose_their_family() {
        assert_eq!(chosen(&["http/1.1"], None), Some("web"));
        assert_eq!(chosen(&["h2", "http/1.1"], None), Some("web"));
        assert_eq!(chosen(&["byway/1"], None), Some("link"));
    }

    #[test]
    fn unknown_protocols_beside_known_ones_are_ignored() {
        assert_eq!(chosen(&["\u{a}\u{a}", "h2", "spdy/3"], None), Some("web"));
    }

    #[test]
    fn an_offer_of_two_families_is_refused() {
        assert_eq!(chosen(&["h2", "byway/1"], Some(&"web")), None);
        assert_eq!(chosen(&["byway/1", "http/1.1"], None), None);
    }

    #[test]
    fn an_offer_without_a_known_protocol_gets_the_default_if_there_is_one() {
        assert_eq!(chosen(&[], Some(&"web")), Some("web"));
        assert_eq!(chosen(&["spdy/3"], Some(&"web")), Some("web"));
        assert_eq!(chosen(&[], None), None);
        assert_eq!(chosen(&["spdy/3"], None), None);
    }
}
