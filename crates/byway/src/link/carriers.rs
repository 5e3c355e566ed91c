//! Carriers: measurements of the carriers of all links of this node, as series for the metrics.
//!
//! In:    the links that this node dials, and the sessions that it has accepted.
//! Out:   one series per kind of carrier for each dialled link and for each grant.
//! Never: more series than the config and [`GRANTS`] allow: a holder of a grant may have any number
//!        of links, and of keys.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use byway_link::{CarrierKind, GrantId, Measured};

use crate::link::outgoing::OutgoingLink;
use crate::link::registry::ServiceRegistry;

/// The most grants with their own series: those whose oldest link is the oldest. The links of all
/// other grants share one.
pub const GRANTS: usize = 64;

/// The label of the links of the other grants.
const OTHERS: &str = "other grants";

/// The carriers of one kind of a link, or of the links of a grant.
pub struct Series {
    /// The label: as in the config, or `grant ID`.
    pub link: Arc<str>,
    /// Links whose new streams use this kind.
    pub preferring: u32,
    /// The measurements of one carrier; of several, the longest round trip, the highest loss and
    /// the sums of the rest.
    pub measured: Measured,
}

/// One link: the kind that new streams use, and the measurements of each carrier.
type OfLink = (Option<CarrierKind>, Vec<Measured>);

/// Series of the links that this node dials.
pub fn of_dialled(joined: &[Arc<OutgoingLink>]) -> Vec<Series> {
    let mut all = Vec::new();
    for joined in joined {
        let Some(link) = joined.session_now() else {
            continue;
        };
        let id = Arc::clone(&joined.plan().id);
        all.extend(
            newest(link.measured()).map(|(preferring, measured)| Series {
                link: Arc::clone(&id),
                preferring,
                measured,
            }),
        );
    }
    all
}

/// Series of the links that this node has accepted.
pub fn of_accepted(names: &ServiceRegistry) -> Vec<Series> {
    by_grant(
        names
            .links()
            .into_iter()
            .map(|(grant, link)| (grant, link.measured())),
    )
}

/// Sums up the carriers of each grant. The oldest link comes first.
fn by_grant(links: impl Iterator<Item = (GrantId, OfLink)>) -> Vec<Series> {
    let mut numbers: HashMap<GrantId, usize> = HashMap::new();
    let mut sums: BTreeMap<(usize, CarrierKind), Series> = BTreeMap::new();
    for (grant, of_link) in links {
        let next = numbers.len().min(GRANTS);
        let number = *numbers.entry(grant).or_insert(next);
        for (preferring, measured) in newest(of_link) {
            match sums.get_mut(&(number, measured.kind)) {
                Some(sum) => sum.add(preferring, &measured),
                None => {
                    let link = if number < GRANTS {
                        format!("grant {grant}").into()
                    } else {
                        OTHERS.into()
                    };
                    sums.insert(
                        (number, measured.kind),
                        Series {
                            link,
                            preferring,
                            measured,
                        },
                    );
                }
            }
        }
    }
    sums.into_values().collect()
}

/// Of several carriers of one kind only the newest counts, which is the last.
fn newest((preferred, measured): OfLink) -> impl Iterator<Item = (u32, Measured)> {
    let newest: BTreeMap<_, _> = measured
        .into_iter()
        .map(|measured| (measured.kind, measured))
        .collect();
    newest
        .into_values()
        .map(move |measured| (u32::from(preferred == Some(measured.kind)), measured))
}

impl Series {
    fn add(&mut self, preferring: u32, more: &Measured) {
        self.preferring += preferring;
        let sum = &mut self.measured;
        sum.round_trip = sum.round_trip.max(more.round_trip);
        sum.loss = sum.loss.into_iter().chain(more.loss).reduce(f64::max);
        sum.rate = sum.rate.saturating_add(more.rate);
        sum.answers &= more.answers;
        sum.connections += more.connections;
        let windows = sum
            .congestion_window
            .into_iter()
            .chain(more.congestion_window);
        sum.congestion_window = windows.reduce(u64::saturating_add);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const fn grant(number: u8) -> GrantId {
        GrantId::from_bytes([number; 6])
    }

    fn of_link(kind: CarrierKind, ms: u64) -> OfLink {
        let figure = u32::try_from(ms).unwrap();
        let measured = Measured {
            kind,
            answers: true,
            round_trip: Some(Duration::from_millis(ms)),
            loss: (kind == CarrierKind::Quic).then(|| f64::from(figure) / 100.0),
            rate: ms,
            congestion_window: (kind == CarrierKind::Quic).then_some(ms),
            connections: usize::from(kind == CarrierKind::Tls),
        };
        (Some(kind), vec![measured])
    }

    #[test]
    fn links_of_one_grant_are_one_series_with_the_worst_path_and_the_sum_of_the_traffic() {
        use CarrierKind::{Quic, Tls};
        let links = [
            (grant(1), of_link(Quic, 3)),
            (grant(2), of_link(Tls, 7)),
            (grant(1), of_link(Quic, 5)),
        ];
        let series = by_grant(links.into_iter());
        let [first, second] = series.as_slice() else {
            panic!("{}", series.len())
        };
        assert_eq!(
            (&*first.link, first.preferring),
            (&*format!("grant {}", grant(1)), 2)
        );
        let Measured {
            round_trip,
            loss,
            rate,
            congestion_window,
            ..
        } = first.measured;
        assert_eq!(
            (round_trip, loss),
            (Some(Duration::from_millis(5)), Some(0.05))
        );
        assert_eq!((rate, congestion_window), (8, Some(8)));
        let Measured {
            kind,
            loss,
            congestion_window,
            ..
        } = second.measured;
        assert_eq!((kind, loss, congestion_window), (Tls, None, None));
    }

    #[test]
    fn however_many_grants_have_links_the_number_of_series_is_bounded() {
        let links = (0..=u8::MAX).flat_map(|number| {
            [CarrierKind::Quic, CarrierKind::Tls].map(|kind| (grant(number), of_link(kind, 1)))
        });
        let series = by_grant(links);
        assert_eq!(series.len(), 2 * (GRANTS + 1));
        let others: Vec<_> = series
            .iter()
            .filter(|series| &*series.link == OTHERS)
            .collect();
        assert_eq!(
            others
                .iter()
                .map(|series| series.measured.rate)
                .collect::<Vec<_>>(),
            [192, 192]
        );
    }
}
