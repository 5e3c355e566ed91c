//! Host index: values by the host patterns that they belong to, so that comparing many routes does
//! not take a step for each two of them.
//!
//! In:    host patterns.
//! Out:   their keys, and those of all patterns that match every host that they match.
//! Never: looks at a host of a request: a request is matched by the routes in their order.

use std::net::IpAddr;

use super::host_pattern::HostPattern;

/// A host pattern, or the absence of one, as a key of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HostKey<'p> {
    /// No pattern: every host.
    Every,
    /// One name.
    Exact(&'p str),
    /// The names below one.
    Below(&'p str),
    /// One address.
    Addr(IpAddr),
}

impl<'p> HostKey<'p> {
    /// The keys of the patterns of a route: [`Self::Every`] if it has none.
    pub(super) fn all(hosts: &'p [HostPattern]) -> impl Iterator<Item = Self> {
        let every = hosts.is_empty().then_some(Self::Every);
        every.into_iter().chain(hosts.iter().map(Self::of))
    }

    fn of(pattern: &'p HostPattern) -> Self {
        match pattern {
            HostPattern::Exact(name) => Self::Exact(name.as_str()),
            HostPattern::Below(name) => Self::Below(name.as_str()),
            HostPattern::Addr(ip) => Self::Addr(*ip),
        }
    }

    /// The keys of all patterns that match every host that this one matches, itself included.
    pub(super) fn covering(self) -> impl Iterator<Item = Self> {
        let name = match self {
            Self::Exact(name) | Self::Below(name) => name,
            Self::Every | Self::Addr(_) => "",
        };
        let above = name
            .match_indices('.')
            .filter_map(|(at, _)| name.get(at + 1..));
        let every = (self != Self::Every).then_some(Self::Every);
        std::iter::once(self)
            .chain(above.map(Self::Below))
            .chain(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_covering_keys_of_a_pattern_are_those_of_the_patterns_that_match_all_of_its_hosts() {
        let texts = [
            "a.b.example",
            "*.a.b.example",
            "b.example",
            "*.b.example",
            "*.example",
            "x.example",
            "*.x.example",
            "192.0.2.1",
            "192.0.2.2",
            "example",
        ];
        let patterns = texts.map(|text| text.parse::<HostPattern>().unwrap());
        for narrow in &patterns {
            let covering: Vec<_> = HostKey::of(narrow).covering().collect();
            assert!(covering.contains(&HostKey::Every));
            for wide in &patterns {
                // A name below is matched by its text, a pattern by its text with the star.
                let covers = wide == narrow
                    || (matches!(wide, HostPattern::Below(_)) && wide.matches(&narrow.to_string()));
                assert_eq!(
                    covering.contains(&HostKey::of(wide)),
                    covers,
                    "{wide} {narrow}"
                );
            }
        }
        assert_eq!(HostKey::all(&[]).collect::<Vec<_>>(), [HostKey::Every]);
    }
}
