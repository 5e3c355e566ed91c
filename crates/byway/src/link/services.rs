//! Services: the services that a node exposes, and the state of their registration in the current
//! session.
//!
//! In:    the services of the Plan; refusals and public addresses from the other side.
//! Out:   the messages that update the other side; the service of each number.
//! Never: sends anything itself.
//!
//! A service's number is its index plus one. An index keeps its service until the Plan drops it,
//! and is not reused in the same session, so a late message of the other side cannot be applied to
//! another service.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::Arc;

use byway_link::wire::{Control, Register, Unregister};

use tokio::time::Instant;

use crate::config::{ServiceKind, ServicePlan};

/// The services that a node exposes over a link, with the state of their registration in the
/// current session. It returns the messages to send, and sends nothing.
#[derive(Default)]
pub struct Services {
    places: Vec<Option<ServiceSlot>>,
    /// The public address of each, kept across sessions, so that only changes are reported.
    public: HashMap<(ServiceKind, Arc<str>), String>,
}

struct ServiceSlot {
    service: ServicePlan,
    state: RegistrationState,
    /// Requests without a response yet. A service that moves away and back may have been requested
    /// twice.
    responses_due: u32,
    /// When a service that was refused for now is requested again.
    due: Option<Instant>,
}

/// The number of services in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceCount {
    /// Public services.
    pub public: usize,
    /// The last response was a refusal, whether they are requested again or not.
    pub refused: usize,
    /// There is no response yet.
    pub waiting: usize,
}

impl AddAssign for ServiceCount {
    fn add_assign(&mut self, other: Self) {
        self.public += other.public;
        self.refused += other.refused;
        self.waiting += other.waiting;
    }
}

/// The state of a service in the session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RegistrationState {
    /// It was not requested yet, or was refused for now.
    NotRequested,
    /// It was requested, and there is no response yet.
    Requested,
    /// It is public.
    Public,
    /// It was refused, and another request cannot help.
    Refused,
}

impl Services {
    /// Starts a new session, in which nothing is registered.
    pub fn start_over(&mut self) {
        self.places.clear();
    }

    /// The messages after which the other side has what is `wanted`. A service with a new target
    /// keeps its number, and is registered again so that the other side drops connections to the
    /// old target. Removals come last: a name that moves from one service to another always has
    /// one. A service that was refused for now is left out until it is due.
    pub fn follow(&mut self, wanted: &[ServicePlan], now: Instant) -> Vec<Control> {
        for entry in self
            .places
            .iter_mut()
            .flatten()
            .filter(|entry| !wanted.contains(&entry.service))
        {
            let same = |service: &&ServicePlan| {
                let old = &entry.service;
                (service.kind, &service.name, service.port) == (old.kind, &old.name, old.port)
            };
            if let Some(service) = wanted.iter().find(same) {
                entry.service = service.clone();
                (entry.state, entry.due) = (RegistrationState::NotRequested, None);
            }
        }
        let (mut messages, mut removed) = (Vec::new(), Vec::new());
        for (place, slot) in self.places.iter_mut().enumerate() {
            if slot
                .take_if(|entry| !wanted.contains(&entry.service))
                .is_some_and(|removed| removed.state != RegistrationState::NotRequested)
            {
                removed.push(Control::Unregister(Unregister {
                    service: number(place),
                }));
            }
        }
        self.public
            .retain(|(kind, name), _| wanted.iter().any(|it| it.kind == *kind && it.name == *name));
        for service in wanted {
            let place = self.place_of(service);
            match self.places[place].as_mut() {
                Some(entry)
                    if entry.state == RegistrationState::NotRequested
                        && entry.due.is_none_or(|due| due <= now) =>
                {
                    (entry.state, entry.due) = (RegistrationState::Requested, None);
                    entry.responses_due += 1;
                }
                _ => continue,
            }
            let kind = match service.kind {
                ServiceKind::Http => byway_link::ServiceKind::Http,
                ServiceKind::Tcp => byway_link::ServiceKind::Tcp,
            };
            messages.push(Control::Register(Register {
                service: number(place),
                kind: kind.number(),
                name: service.name.to_string(),
                port: service.port.unwrap_or(0).into(),
            }));
        }
        messages.append(&mut removed);
        messages
    }

    /// A carrier of the session has ended, and may have lost registrations or their responses:
    /// [`Services::follow`] repeats those without a response.
    pub fn request_unanswered_again(&mut self) {
        for entry in self
            .places
            .iter_mut()
            .flatten()
            .filter(|entry| entry.state == RegistrationState::Requested)
        {
            (entry.state, entry.responses_due) = (RegistrationState::NotRequested, 0);
        }
    }

    /// Whether the current session has a response for the service of this kind and name.
    pub fn is_answered(&self, kind: ServiceKind, name: &str) -> bool {
        let answered = |state| {
            matches!(
                state,
                RegistrationState::Public | RegistrationState::Refused
            )
        };
        let mut places = self.places.iter().flatten();
        places.any(|entry| {
            entry.service.kind == kind && *entry.service.name == *name && answered(entry.state)
        })
    }

    fn place_of(&mut self, service: &ServicePlan) -> usize {
        let known = self
            .places
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|slot| slot.service == *service));
        known.unwrap_or_else(|| {
            self.places.push(Some(ServiceSlot {
                service: service.clone(),
                state: RegistrationState::NotRequested,
                responses_due: 0,
                due: None,
            }));
            self.places.len() - 1
        })
    }

    /// The service with this number.
    pub fn get(&self, number: u32) -> Option<&ServicePlan> {
        let place = (number as usize).checked_sub(1)?;
        Some(&self.places.get(place)?.as_ref()?.service)
    }

    /// Makes [`Services::follow`] request the service of this kind and name again.
    pub fn request_again(&mut self, kind: ServiceKind, name: &str) {
        let mut places = self.places.iter_mut().flatten();
        if let Some(entry) =
            places.find(|entry| entry.service.kind == kind && *entry.service.name == *name)
        {
            (entry.state, entry.due) = (RegistrationState::NotRequested, None);
        }
    }

    /// The number of services in each state.
    pub fn count(&self) -> ServiceCount {
        let mut count = ServiceCount::default();
        for entry in self.places.iter().flatten() {
            match entry.state {
                RegistrationState::Public => count.public += 1,
                // A wanted service is requested at once, so this state means a refusal that is
                // retried later.
                RegistrationState::NotRequested | RegistrationState::Refused => count.refused += 1,
                RegistrationState::Requested => count.waiting += 1,
            }
        }
        count
    }

    /// When the next service that was refused for now is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.places
            .iter()
            .flatten()
            .filter(|entry| entry.state == RegistrationState::NotRequested)
            .filter_map(|entry| entry.due)
            .min()
    }

    /// Whether it was requested, and the response is still missing.
    pub fn is_unanswered(&mut self, number: u32) -> bool {
        self.place(number)
            .is_some_and(|place| place.state == RegistrationState::Requested)
    }

    /// The other side has refused or withdrawn it. At `again`, [`Services::follow`] requests it
    /// once more. `None`: it was not requested, so the message is ignored.
    pub fn is_refused(&mut self, number: u32, again: Option<Instant>) -> Option<Arc<str>> {
        let place = self.place(number)?;
        place.responses_due = place.responses_due.saturating_sub(1);
        if !matches!(
            place.state,
            RegistrationState::Requested | RegistrationState::Public
        ) {
            return None;
        }
        place.state = if again.is_some() {
            RegistrationState::NotRequested
        } else {
            RegistrationState::Refused
        };
        place.due = again;
        let (kind, name) = (place.service.kind, Arc::clone(&place.service.name));
        // So that the log says when it is public again, also at the earlier address.
        self.public.remove(&(kind, Arc::clone(&name)));
        Some(name)
    }

    /// The other side has made it public at `address`. Returns the service if the address is new. A
    /// response without a request is ignored, so the other side cannot make this node print without
    /// limit.
    pub fn is_public(&mut self, number: u32, address: &str) -> Option<Arc<str>> {
        let place = self.place(number)?;
        place.responses_due = place.responses_due.saturating_sub(1);
        // If more responses are missing, this one belongs to an earlier request.
        if place.state != RegistrationState::Requested || place.responses_due > 0 {
            return None;
        }
        place.state = RegistrationState::Public;
        let (kind, name) = (place.service.kind, Arc::clone(&place.service.name));
        let before = self
            .public
            .insert((kind, Arc::clone(&name)), address.to_owned());
        (before.as_deref() != Some(address)).then_some(name)
    }

    fn place(&mut self, number: u32) -> Option<&mut ServiceSlot> {
        let place = (number as usize).checked_sub(1)?;
        self.places.get_mut(place)?.as_mut()
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn service(kind: ServiceKind, name: &str) -> ServicePlan {
        ServicePlan {
            kind,
            name: name.into(),
            port: None,
            host: None,
            to: "127.0.0.1:3000".parse().expect("a target"),
        }
    }

    /// `+` registers a number, `-` unregisters it.
    fn sent(services: &mut Services, wanted: &[ServicePlan]) -> Vec<(char, u32)> {
        let as_sent = |control| match control {
            Control::Register(state) => ('+', state.service),
            Control::Unregister(removed) => ('-', removed.service),
            other => panic!("unexpected {other:?}"),
        };
        services
            .follow(wanted, Instant::now())
            .into_iter()
            .map(as_sent)
            .collect()
    }

    #[test]
    fn a_registration_that_was_lost_with_its_carrier_was_never_repeated_while_the_session_went_on()
    {
        let (app, ssh) = (
            service(ServiceKind::Http, "app"),
            service(ServiceKind::Tcp, "ssh"),
        );
        let mut services = Services::default();
        assert_eq!(
            sent(&mut services, &[app.clone(), ssh.clone()]),
            [('+', 1), ('+', 2)]
        );
        services.is_public(1, "http://app.test");
        services.request_unanswered_again();
        assert_eq!(sent(&mut services, &[app, ssh]), [('+', 2)]);
        assert!(
            services.is_public(2, "127.0.0.1:20022").is_some(),
            "it does not wait for the lost response"
        );
    }

    #[test]
    fn a_wanted_service_is_registered_once_and_a_removed_one_is_unregistered() {
        let (app, ssh) = (
            service(ServiceKind::Http, "app"),
            service(ServiceKind::Tcp, "ssh"),
        );
        let mut services = Services::default();
        assert_eq!(
            sent(&mut services, &[app.clone(), ssh.clone()]),
            [('+', 1), ('+', 2)]
        );
        assert_eq!(sent(&mut services, &[app.clone(), ssh.clone()]), []);
        assert_eq!(sent(&mut services, std::slice::from_ref(&ssh)), [('-', 1)]);
        assert_eq!(services.get(1), None);
        assert_eq!(
            sent(&mut services, &[ssh, app]),
            [('+', 3)],
            "the number of a removed service is not reused"
        );
    }

    #[test]
    fn a_service_with_another_target_keeps_its_number_and_is_never_unregistered() {
        let old = service(ServiceKind::Http, "app");
        let new = ServicePlan {
            to: "127.0.0.1:3001".parse().unwrap(),
            ..old.clone()
        };
        let mut services = Services::default();
        assert_eq!(sent(&mut services, &[old]), [('+', 1)]);
        assert_eq!(sent(&mut services, std::slice::from_ref(&new)), [('+', 1)]);
        assert_eq!(services.get(1), Some(&new));
    }

    #[test]
    fn a_name_that_moves_to_another_service_is_registered_before_the_old_one_is_unregistered() {
        let old = service(ServiceKind::Tcp, "ssh");
        let new = ServicePlan {
            name: "shell".into(),
            ..old.clone()
        };
        let mut services = Services::default();
        sent(&mut services, &[old]);
        assert_eq!(sent(&mut services, &[new]), [('+', 2), ('-', 1)]);
    }

    #[test]
    fn a_refused_service_is_requested_again_with_its_old_number() {
        let ssh = service(ServiceKind::Tcp, "ssh");
        let mut services = Services::default();
        assert_eq!(sent(&mut services, std::slice::from_ref(&ssh)), [('+', 1)]);
        for _ in 0..100 {
            assert_eq!(
                services.is_refused(1, Some(Instant::now())).as_deref(),
                Some("ssh")
            );
            assert_eq!(
                services.is_refused(1, Some(Instant::now())),
                None,
                "a second refusal of one request is ignored"
            );
            assert_eq!(sent(&mut services, std::slice::from_ref(&ssh)), [('+', 1)]);
        }
        services.is_refused(1, Some(Instant::now()));
        assert_eq!(
            sent(&mut services, &[]),
            [],
            "a refused service is not unregistered"
        );
        assert_eq!(services.is_refused(7, Some(Instant::now())), None);
    }

    #[test]
    fn a_service_that_was_refused_became_public_at_its_earlier_address_without_a_word() {
        let app = service(ServiceKind::Http, "app");
        let mut services = Services::default();
        sent(&mut services, std::slice::from_ref(&app));
        assert!(services.is_public(1, "http://app.test").is_some());
        services.is_refused(1, Some(Instant::now()));
        sent(&mut services, &[app]);
        assert!(services.is_public(1, "http://app.test").is_some());
    }

    #[test]
    fn each_refused_service_is_requested_again_at_its_own_time() {
        let both = [
            service(ServiceKind::Tcp, "soon"),
            service(ServiceKind::Tcp, "late"),
        ];
        let (mut services, start) = (Services::default(), Instant::now());
        let (soon, late) = (
            start + Duration::from_secs(2),
            start + Duration::from_secs(60),
        );
        let numbers = |control: Vec<Control>| -> Vec<u32> {
            let number = |control| {
                if let Control::Register(state) = control {
                    state.service
                } else {
                    0
                }
            };
            control.into_iter().map(number).collect()
        };
        assert_eq!(numbers(services.follow(&both, start)), [1, 2]);
        for order in [[(1, soon), (2, late)], [(2, late), (1, soon)]] {
            for (number, due) in order {
                services.is_refused(number, Some(due));
            }
            assert_eq!(services.next_due(), Some(soon));
            assert!(services.follow(&both, start).is_empty());
            assert_eq!(numbers(services.follow(&both, soon)), [1]);
            assert_eq!(services.next_due(), Some(late));
            assert_eq!(numbers(services.follow(&both, late)), [2]);
            assert_eq!(services.next_due(), None);
        }
        services.is_refused(1, Some(late));
        services.request_again(ServiceKind::Tcp, "soon");
        assert_eq!(
            numbers(services.follow(&both, start)),
            [1],
            "a service that moves here is requested at once"
        );
    }

    #[test]
    fn the_response_to_an_earlier_request_does_not_count_for_a_later_one() {
        let app = service(ServiceKind::Http, "app");
        let mut services = Services::default();
        assert_eq!(sent(&mut services, std::slice::from_ref(&app)), [('+', 1)]);
        // It moves to another link and back before the response arrives.
        services.request_again(ServiceKind::Http, "app");
        assert_eq!(sent(&mut services, std::slice::from_ref(&app)), [('+', 1)]);
        assert_eq!(services.is_public(1, "http://app.t.localhost"), None);
        assert!(
            services.is_unanswered(1),
            "the other link may have it by now"
        );
        assert!(services.is_public(1, "http://app.t.localhost").is_some());
        assert!(!services.is_unanswered(1));
    }

    #[test]
    fn an_address_is_reported_once_per_service_even_if_two_services_share_a_name() {
        let both = [
            service(ServiceKind::Http, "app"),
            service(ServiceKind::Tcp, "app"),
        ];
        let mut services = Services::default();
        for session in 0..2 {
            services.start_over();
            services.follow(&both, Instant::now());
            assert_eq!(
                services
                    .is_public(1, "http://app.t.localhost:8081")
                    .is_some(),
                session == 0
            );
            assert_eq!(
                services.is_public(2, "127.0.0.1:20022").is_some(),
                session == 0
            );
        }
        for _ in 0..3 {
            assert_eq!(
                services.is_public(2, "127.0.0.1:20023"),
                None,
                "there was no request"
            );
        }
        assert_eq!(services.is_public(3, "127.0.0.1:1"), None);
        services.start_over();
        services.follow(&both, Instant::now());
        assert_eq!(
            services.is_public(2, "127.0.0.1:20023").as_deref(),
            Some("app")
        );
    }
}
