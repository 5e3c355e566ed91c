//! Services: what a node wants to have exposed, and what it has asked the session of the moment
//! for.
//!
//! In:    the wanted services of the Plan; refusals and public addresses that the other side says.
//! Out:   the messages that bring the other side up to date; which service a number stands for.
//! Never: says anything itself.
//!
//! A service's number is its place and one more. A place keeps its service until the Plan drops it,
//! and is not given to another one in the same session: what the other side says late cannot be
//! taken for somebody else's.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::sync::Arc;

use byway_link::wire::{Control, Register, Unregister};

use tokio::time::Instant;

use crate::config::{ServiceKind, ServicePlan};

/// See the head of the file.
#[derive(Default)]
pub struct Services {
    places: Vec<Option<ServiceSlot>>,
    /// Where each is public, kept from session to session, so that a person is told of changes
    /// alone.
    public: HashMap<(ServiceKind, Arc<str>), String>,
}

struct ServiceSlot {
    service: ServicePlan,
    state: RegistrationState,
    /// Requests without an answer yet. A service that moves away and back may have been asked for
    /// twice.
    answers_due: u32,
    /// When a service that was refused for now is asked for again.
    due: Option<Instant>,
}

/// How many services are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceCount {
    /// They are public.
    pub public: usize,
    /// The last answer was a refusal, whether they are asked for again or not.
    pub refused: usize,
    /// There is no answer yet.
    pub waiting: usize,
}

impl AddAssign for ServiceCount {
    fn add_assign(&mut self, other: Self) {
        self.public += other.public;
        self.refused += other.refused;
        self.waiting += other.waiting;
    }
}

/// What has been said about a service in the session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RegistrationState {
    /// Nothing yet, or it was refused for now.
    No,
    /// It was asked for, and there is no answer yet.
    Yes,
    /// It is public.
    Public,
    /// It was refused, and asking again cannot help.
    Refused,
}

impl Services {
    /// A new session knows of nothing yet.
    pub fn start_over(&mut self) {
        self.places.clear();
    }

    /// What has to be said so that the other side has what is `wanted`. A service that only has
    /// another target keeps its number, and is registered again so that the other side drops
    /// connections that lead to the old target. What is gone is said last: a name that moves from
    /// one service to another is never without one. A service that was refused for now is left out
    /// until it is due.
    pub fn follow(&mut self, wanted: &[ServicePlan], now: Instant) -> Vec<Control> {
        for there in self
            .places
            .iter_mut()
            .flatten()
            .filter(|there| !wanted.contains(&there.service))
        {
            let same = |service: &&ServicePlan| {
                let old = &there.service;
                (service.kind, &service.name, service.port) == (old.kind, &old.name, old.port)
            };
            if let Some(service) = wanted.iter().find(same) {
                there.service = service.clone();
                (there.state, there.due) = (RegistrationState::No, None);
            }
        }
        let (mut to_say, mut gone) = (Vec::new(), Vec::new());
        for (place, slot) in self.places.iter_mut().enumerate() {
            if slot
                .take_if(|there| !wanted.contains(&there.service))
                .is_some_and(|gone| gone.state != RegistrationState::No)
            {
                gone.push(Control::Unregister(Unregister {
                    service: number(place),
                }));
            }
        }
        self.public
            .retain(|(kind, name), _| wanted.iter().any(|it| it.kind == *kind && it.name == *name));
        for service in wanted {
            let place = self.place_of(service);
            match self.places[place].as_mut() {
                Some(there)
                    if there.state == RegistrationState::No
                        && there.due.is_none_or(|due| due <= now) =>
                {
                    (there.state, there.due) = (RegistrationState::Yes, None);
                    there.answers_due += 1;
                }
                _ => continue,
            }
            let kind = match service.kind {
                ServiceKind::Http => byway_link::ServiceKind::Http,
                ServiceKind::Tcp => byway_link::ServiceKind::Tcp,
            };
            to_say.push(Control::Register(Register {
                service: number(place),
                kind: kind.number(),
                name: service.name.to_string(),
                port: service.port.unwrap_or(0).into(),
            }));
        }
        to_say.append(&mut gone);
        to_say
    }

    /// A carrier of the session has ended, and may have lost registrations or their answers:
    /// [`Services::follow`] asks again for those that were not answered.
    pub fn ask_unanswered_anew(&mut self) {
        for there in self
            .places
            .iter_mut()
            .flatten()
            .filter(|there| there.state == RegistrationState::Yes)
        {
            (there.state, there.answers_due) = (RegistrationState::No, 0);
        }
    }

    /// Whether the session of the moment has an answer for the service of this kind and name.
    pub fn is_answered(&self, kind: ServiceKind, name: &str) -> bool {
        let answered = |state| {
            matches!(
                state,
                RegistrationState::Public | RegistrationState::Refused
            )
        };
        let mut places = self.places.iter().flatten();
        places.any(|there| {
            there.service.kind == kind && *there.service.name == *name && answered(there.state)
        })
    }

    fn place_of(&mut self, service: &ServicePlan) -> usize {
        let there = self
            .places
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|there| there.service == *service));
        there.unwrap_or_else(|| {
            self.places.push(Some(ServiceSlot {
                service: service.clone(),
                state: RegistrationState::No,
                answers_due: 0,
                due: None,
            }));
            self.places.len() - 1
        })
    }

    /// The service that a number stands for.
    pub fn get(&self, number: u32) -> Option<&ServicePlan> {
        let place = (number as usize).checked_sub(1)?;
        Some(&self.places.get(place)?.as_ref()?.service)
    }

    /// Makes [`Services::follow`] ask for the service of this kind and name again.
    pub fn ask_anew(&mut self, kind: ServiceKind, name: &str) {
        let mut places = self.places.iter_mut().flatten();
        if let Some(there) =
            places.find(|there| there.service.kind == kind && *there.service.name == *name)
        {
            (there.state, there.due) = (RegistrationState::No, None);
        }
    }

    /// How many are in which state.
    pub fn count(&self) -> ServiceCount {
        let mut count = ServiceCount::default();
        for there in self.places.iter().flatten() {
            match there.state {
                RegistrationState::Public => count.public += 1,
                // What is wanted is asked for at once: `No` is a refusal after which it is asked
                // for again.
                RegistrationState::No | RegistrationState::Refused => count.refused += 1,
                RegistrationState::Yes => count.waiting += 1,
            }
        }
        count
    }

    /// When the next service that was refused for now is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.places
            .iter()
            .flatten()
            .filter(|there| there.state == RegistrationState::No)
            .filter_map(|there| there.due)
            .min()
    }

    /// Whether it was asked for, and the answer is still to come.
    pub fn is_unanswered(&mut self, number: u32) -> bool {
        self.place(number)
            .is_some_and(|place| place.state == RegistrationState::Yes)
    }

    /// The other side has refused it, or taken it away. From `again` on, [`Services::follow`] asks
    /// for it once more. `None`: it was not asked for, so the message means nothing.
    pub fn is_refused(&mut self, number: u32, again: Option<Instant>) -> Option<Arc<str>> {
        let place = self.place(number)?;
        place.answers_due = place.answers_due.saturating_sub(1);
        if !matches!(
            place.state,
            RegistrationState::Yes | RegistrationState::Public
        ) {
            return None;
        }
        place.state = if again.is_some() {
            RegistrationState::No
        } else {
            RegistrationState::Refused
        };
        place.due = again;
        Some(Arc::clone(&place.service.name))
    }

    /// The other side has made it public at `address`. The service, if that is news. An answer to
    /// nothing is no news, so the other side cannot make this node print without end.
    pub fn is_public(&mut self, number: u32, address: &str) -> Option<Arc<str>> {
        let place = self.place(number)?;
        place.answers_due = place.answers_due.saturating_sub(1);
        // With more answers to come, this one is to an earlier request.
        if place.state != RegistrationState::Yes || place.answers_due > 0 {
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

    /// `+` registers a number, `-` takes it back.
    fn said(services: &mut Services, wanted: &[ServicePlan]) -> Vec<(char, u32)> {
        let as_said = |control| match control {
            Control::Register(state) => ('+', state.service),
            Control::Unregister(gone) => ('-', gone.service),
            other => panic!("nobody asked for {other:?}"),
        };
        services
            .follow(wanted, Instant::now())
            .into_iter()
            .map(as_said)
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
            said(&mut services, &[app.clone(), ssh.clone()]),
            [('+', 1), ('+', 2)]
        );
        services.is_public(1, "http://app.test");
        services.ask_unanswered_anew();
        assert_eq!(said(&mut services, &[app, ssh]), [('+', 2)]);
        assert!(
            services.is_public(2, "127.0.0.1:20022").is_some(),
            "the lost answer is not waited for"
        );
    }

    #[test]
    fn what_is_wanted_is_asked_for_once_and_what_is_not_any_more_is_taken_back() {
        let (app, ssh) = (
            service(ServiceKind::Http, "app"),
            service(ServiceKind::Tcp, "ssh"),
        );
        let mut services = Services::default();
        assert_eq!(
            said(&mut services, &[app.clone(), ssh.clone()]),
            [('+', 1), ('+', 2)]
        );
        assert_eq!(said(&mut services, &[app.clone(), ssh.clone()]), []);
        assert_eq!(said(&mut services, std::slice::from_ref(&ssh)), [('-', 1)]);
        assert_eq!(services.get(1), None);
        assert_eq!(
            said(&mut services, &[ssh, app]),
            [('+', 3)],
            "the number of a service that went is not used again"
        );
    }

    #[test]
    fn a_service_with_another_target_keeps_its_number_and_is_never_taken_back() {
        let old = service(ServiceKind::Http, "app");
        let new = ServicePlan {
            to: "127.0.0.1:3001".parse().unwrap(),
            ..old.clone()
        };
        let mut services = Services::default();
        assert_eq!(said(&mut services, &[old]), [('+', 1)]);
        assert_eq!(said(&mut services, std::slice::from_ref(&new)), [('+', 1)]);
        assert_eq!(services.get(1), Some(&new));
    }

    #[test]
    fn a_name_that_another_service_takes_is_registered_before_the_old_one_is_taken_back() {
        let old = service(ServiceKind::Tcp, "ssh");
        let new = ServicePlan {
            name: "shell".into(),
            ..old.clone()
        };
        let mut services = Services::default();
        said(&mut services, &[old]);
        assert_eq!(said(&mut services, &[new]), [('+', 2), ('-', 1)]);
    }

    #[test]
    fn a_refused_service_is_asked_for_again_by_its_old_number() {
        let ssh = service(ServiceKind::Tcp, "ssh");
        let mut services = Services::default();
        assert_eq!(said(&mut services, std::slice::from_ref(&ssh)), [('+', 1)]);
        for _ in 0..100 {
            assert_eq!(
                services.is_refused(1, Some(Instant::now())).as_deref(),
                Some("ssh")
            );
            assert_eq!(
                services.is_refused(1, Some(Instant::now())),
                None,
                "a second refusal of one request means nothing"
            );
            assert_eq!(said(&mut services, std::slice::from_ref(&ssh)), [('+', 1)]);
        }
        services.is_refused(1, Some(Instant::now()));
        assert_eq!(
            said(&mut services, &[]),
            [],
            "what the other side has refused is not taken back"
        );
        assert_eq!(services.is_refused(7, Some(Instant::now())), None);
    }

    #[test]
    fn each_refused_service_is_asked_for_again_at_its_own_time() {
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
        services.ask_anew(ServiceKind::Tcp, "soon");
        assert_eq!(
            numbers(services.follow(&both, start)),
            [1],
            "what moves here is asked for at once"
        );
    }

    #[test]
    fn the_answer_to_an_earlier_request_is_not_taken_for_that_to_a_later_one() {
        let app = service(ServiceKind::Http, "app");
        let mut services = Services::default();
        assert_eq!(said(&mut services, std::slice::from_ref(&app)), [('+', 1)]);
        // It moves to another link and back before the answer has come.
        services.ask_anew(ServiceKind::Http, "app");
        assert_eq!(said(&mut services, std::slice::from_ref(&app)), [('+', 1)]);
        assert_eq!(services.is_public(1, "http://app.t.localhost"), None);
        assert!(
            services.is_unanswered(1),
            "the other link may have it since"
        );
        assert!(services.is_public(1, "http://app.t.localhost").is_some());
        assert!(!services.is_unanswered(1));
    }

    #[test]
    fn an_address_is_news_once_per_service_and_of_two_services_of_one_name_each() {
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
                "it is an answer to nothing"
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
