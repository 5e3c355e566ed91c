//! Listen: the addresses of a section, and the listeners they make.
//!
//! In:    `listen` and `name` of a section.
//! Out:   one `ListenerPlan` an address; they share their role.
//! Never: lets two listeners have one address, in one section or in two.

use std::sync::Arc;

use byway_dial::Target;

use super::super::bind::{Bind, check_socket_path};
use super::super::diagnostic::Diagnostic;
use super::super::place::{At, Place, Text};
use super::super::plan::{ForwardPlan, FrontendPlan, ListenerPlan, Role, Transport};
use super::super::section::{LimitsPlan, Tcp};
use super::Resolver;

/// Every address so far.
#[derive(Default)]
pub(super) struct Listened(Vec<At<Bind>>);

impl Resolver<'_> {
    /// The addresses in `listen`; `section` is the section's heading, such as `[[edge]]`.
    pub(super) fn binds(
        &mut self,
        section: &str,
        place: &Place,
        listen: &Option<At<Vec<Text>>>,
    ) -> Vec<At<Bind>> {
        let Some(listen) = listen else {
            let message = format!("this {section} has no `listen`");
            self.note(
                Diagnostic::new(place, message)
                    .help("for example listen = \"127.0.0.1:8080\"")
                    .absent(),
            );
            return Vec::new();
        };
        self.addresses("listen", listen)
    }

    /// The addresses of a list that is there, such as `listen`.
    pub(in super::super) fn addresses(&mut self, key: &str, list: &At<Vec<Text>>) -> Vec<At<Bind>> {
        if list.value.is_empty() {
            let key = list.place.key_or_flag(key);
            let message =
                format!("`{key}` is empty: name at least one address, such as 127.0.0.1:8080");
            self.note(Diagnostic::new(&list.place, message));
        }
        list.value
            .iter()
            .filter_map(|text| self.bind(key, text))
            .collect()
    }

    fn bind(&mut self, key: &str, text: &Text) -> Option<At<Bind>> {
        let bind = At::new(self.parsed::<Bind>(key, text)?, text.place.clone());
        if let Some(first) = self
            .listened
            .0
            .iter()
            .find(|first| first.value.overlaps(&bind.value))
        {
            let message = match first.value == bind.value {
                true => format!("`{}` is listened on twice", bind.value),
                false => format!(
                    "`{}` and `{}` overlap: they cannot both be listened on",
                    bind.value, first.value
                ),
            };
            let diagnostic =
                Diagnostic::new(&bind.place, message).earlier(&first.place, "first here");
            self.note(diagnostic.help("take one of them out or give it another port"));
        }
        self.listened.0.push(bind.clone());
        Some(bind)
    }

    /// One listener an address. Without a name for the section, each is named by its address.
    pub(super) fn listeners(
        &mut self,
        name: &Option<Text>,
        binds: Vec<At<Bind>>,
        role: &Role,
        limits: &LimitsPlan,
    ) -> Vec<ListenerPlan> {
        let name = self.section_name(name);
        listeners_called(name.as_ref(), binds, role, limits)
    }

    pub(super) fn section_name(&mut self, written: &Option<Text>) -> Option<Arc<str>> {
        let name = self.label("name", written)?;
        if let Some(first) = self.section_names.get(&name.value) {
            let message = format!("the name `{}` is taken by another section", name.value);
            let diagnostic = Diagnostic::new(&name.place, message).earlier(first, "first here");
            self.note(diagnostic);
        }
        self.section_names
            .entry(name.value.clone())
            .or_insert(name.place);
        Some(name.value.into())
    }

    /// Notes a target that leads back to one of the section's own listeners.
    pub(super) fn refuse_loop(
        &mut self,
        key: &str,
        place: &Place,
        binds: &[At<Bind>],
        target: &Target,
    ) {
        if let Some(bind) = binds.iter().find(|bind| bind.value.answers(target)) {
            let message = format!(
                "`{}`: `{target}` is this listener itself: connections would loop",
                place.key_or_flag(key)
            );
            self.note(Diagnostic::new(place, message).earlier(&bind.place, "the listener"));
        }
    }

    /// A `[[tcp]]`.
    pub(super) fn forward(&mut self, tcp: &At<Tcp>, limits: &LimitsPlan) -> Vec<ListenerPlan> {
        let binds = self.binds("[[tcp]]", &tcp.place, &tcp.value.listen);
        let Some(to) = self.forward_target(tcp) else {
            return Vec::new();
        };
        if let Some(text) = &tcp.value.to {
            self.refuse_loop("to", &text.place, &binds, &to);
        }
        let role = Role::Forward(Arc::new(ForwardPlan { to }));
        self.listeners(&tcp.value.name, binds, &role, limits)
    }

    fn forward_target(&mut self, tcp: &At<Tcp>) -> Option<Target> {
        let Some(text) = &tcp.value.to else {
            let diagnostic = Diagnostic::new(&tcp.place, "this [[tcp]] has no `to`");
            self.note(diagnostic.help("for example to = \"10.0.0.5:22\"").absent());
            return None;
        };
        if let Some((scheme, rest)) = text.value.split_once("://") {
            let message = format!("`to`: a [[tcp]] forwards bytes, so it takes no `{scheme}://`");
            let help = format!("write {rest:?}, or use an [[edge]] to forward requests");
            self.note(Diagnostic::new(&text.place, message).help(help));
            return None;
        }
        self.target("to", text)
    }

    /// A target in a file or a flag.
    pub(super) fn target(&mut self, key: &str, text: &Text) -> Option<Target> {
        let target = self.parsed(key, text)?;
        match &target {
            Target::Unix(path) => self
                .checked(key, &text.place, check_socket_path(path))
                .map(|()| target),
            _ => Some(target),
        }
    }
}

/// One listener an address, without TLS.
pub(in super::super) fn listeners_called(
    name: Option<&Arc<str>>,
    binds: Vec<At<Bind>>,
    role: &Role,
    limits: &LimitsPlan,
) -> Vec<ListenerPlan> {
    let plain = binds.into_iter().map(|bind| (bind, Transport::Plain));
    listeners_over(name, plain, role, limits)
}

/// One listener an address, each with its transport.
pub(super) fn listeners_over(
    name: Option<&Arc<str>>,
    binds: impl IntoIterator<Item = (At<Bind>, Transport)>,
    role: &Role,
    limits: &LimitsPlan,
) -> Vec<ListenerPlan> {
    let listener = |(bind, transport): (At<Bind>, Transport)| {
        let name = name.cloned();
        let frontend = FrontendPlan {
            name: name.unwrap_or_else(|| bind.value.to_string().into()),
            role: role.clone(),
            limits: limits.clone(),
            transport,
        };
        ListenerPlan {
            bind: bind.value,
            frontend: Arc::new(frontend),
        }
    };
    binds.into_iter().map(listener).collect()
}
