//! Egress: users and rules of a `[[proxy]]`.
//!
//! In:    a `[[proxy]]` as written and the sections it inherits from; the rules of an `[[exit]]`.
//! Out:   its listeners, which share one `EgressPlan`.
//! Never: lets a proxy be open to the world by accident.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use byway_dial::HostName;
use byway_dial::target::parse_port;

use super::super::bind::Bind;
use super::super::diagnostic::Diagnostic;
use super::super::login::{MOST_CREDENTIAL_BYTES, UserPlan};
use super::super::nearest::nearest;
use super::super::place::{At, Place, Text};
use super::super::plan::{EgressPlan, ListenerPlan, Role, Rule, RuleAction};
use super::super::secret::Secret;
use super::super::section::kind::{Kind, OneOf};
use super::super::section::{self, ActionWord, Egress, LimitsPlan, SpillMode, SpillPlan, User};
use super::Resolver;
use super::listen::listeners_over;
use super::parent::parse_parent;

impl Resolver<'_> {
    pub(super) fn egress(
        &mut self,
        egress: &At<Egress>,
        limits: &LimitsPlan,
        spill: &SpillPlan,
    ) -> Vec<ListenerPlan> {
        let written = &egress.value;
        let plain = self.plain_binds("[[proxy]]", &egress.place, &written.listen, &written.https);
        let https = self.https_binds(&written.https);
        let binds = [plain.clone(), https.clone()].concat();
        self.refuse_accidental_openness(written, &binds);
        let users = self.users(written);
        let (rules, exit) = (self.rules(&written.rule, &users), self.desk(egress));
        let plan = EgressPlan {
            rules,
            users,
            settings: written.common.resolve(self, ""),
            spill: spill.mode == SpillMode::Auto && dials(written),
            exit,
        };
        let name = self.section_name(&written.name);
        // A proxy's clients do not follow redirects of the proxy itself.
        let never = Some(At::new(false, egress.place.clone()));
        let binds = self.transports(plain, https, &never);
        let role = Role::Egress(Arc::new(plan));
        listeners_over(name.as_ref(), binds, &role, limits)
    }

    /// Refuses a public listener without users, unless the config confirms it.
    fn refuse_accidental_openness(&mut self, written: &Egress, binds: &[At<Bind>]) {
        let has_users = written
            .users
            .as_ref()
            .is_some_and(|users| !users.value.is_empty());
        let is_confirmed = written
            .open_to_the_world
            .as_ref()
            .is_some_and(|open| open.value);
        if has_users || is_confirmed {
            return;
        }
        for bind in binds.iter().filter(|bind| !bind.value.is_local()) {
            let message = format!(
                "`{}` can be reached from other machines, and any client could use it",
                bind.value
            );
            let help = match bind.place.is_flag() {
                true => {
                    "add --user NAME:PASSWORD, or --open-to-the-world if that is intended, or listen on 127.0.0.1"
                }
                false => {
                    "add users = [{ name = \"…\", password_file = \"…\" }], or open_to_the_world = true if that is \
                     intended, or listen on 127.0.0.1"
                }
            };
            self.note(Diagnostic::new(&bind.place, message).help(help).absent());
        }
    }

    fn users(&mut self, written: &Egress) -> Vec<UserPlan> {
        let mut seen: HashMap<String, Place> = HashMap::new();
        let mut users = Vec::new();
        for user in written.users.iter().flat_map(|users| &users.value) {
            let name = self.user_name(user);
            let password = self.password(user);
            let Some(name) = name else { continue };
            if let Some(first) = seen.get(&name.value) {
                let message = format!("the user `{}` is listed twice", name.value);
                let diagnostic = Diagnostic::new(&name.place, message).earlier(first, "first here");
                self.note(diagnostic);
                continue;
            }
            // Kept without a valid password, because rules may name the user; the Plan is refused
            // anyway.
            let password = password.unwrap_or_else(|| Secret::new(""));
            users.push(UserPlan::new(&name.value, password));
            seen.insert(name.value, name.place);
        }
        users
    }

    fn user_name(&mut self, user: &At<User>) -> Option<Text> {
        let Some(name) = user.value.name.clone() else {
            self.note(Diagnostic::new(&user.place, "this user has no `name`").absent());
            return None;
        };
        let problem = match name.value.len() {
            0 => "is empty".to_owned(),
            length if length > MOST_CREDENTIAL_BYTES => {
                format!("has {length} bytes: the most is {MOST_CREDENTIAL_BYTES}")
            }
            _ if name.value.contains(':') => {
                "holds a colon, which ends the name when it is sent".to_owned()
            }
            _ if name.value.contains(char::is_control) => "holds a control character".to_owned(),
            _ => return Some(name),
        };
        self.note(Diagnostic::new(
            &name.place,
            format!("the name of this user {problem}"),
        ));
        None
    }

    fn password(&mut self, user: &At<User>) -> Option<Secret> {
        let (secret, place) = match (&user.value.password, &user.value.password_file) {
            (Some(password), None) => (password.value.clone(), &password.place),
            (None, Some(file)) => (self.password_file(file)?, &file.place),
            (Some(password), Some(file)) => {
                let message = "this user has both `password` and `password_file`";
                let diagnostic =
                    Diagnostic::new(&file.place, message).earlier(&password.place, "the password");
                self.note(diagnostic.help("take one of them out"));
                return None;
            }
            (None, None) => {
                let help = match user.place.is_flag() {
                    true => "write --user NAME:PASSWORD",
                    false => "add password_file = \"…\", or password = \"…\"",
                };
                self.note(
                    Diagnostic::new(&user.place, "this user has no password")
                        .help(help)
                        .absent(),
                );
                return None;
            }
        };
        let problem = match secret.expose().len() {
            0 => "is empty".to_owned(),
            length if length > MOST_CREDENTIAL_BYTES => {
                format!("has {length} bytes: the most is {MOST_CREDENTIAL_BYTES}")
            }
            _ if secret.expose().contains(char::is_control) => {
                "holds a control character".to_owned()
            }
            _ => return Some(secret),
        };
        self.note(Diagnostic::new(place, format!("the password {problem}")));
        None
    }

    /// The first line of the file.
    fn password_file(&mut self, file: &Text) -> Option<Secret> {
        let path = self.path(&file.value);
        let text = self
            .read_file(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()));
        let text = self.checked("password_file", &file.place, text)?;
        Some(Secret::new(text.lines().next().unwrap_or_default()))
    }

    /// The rules of a section; those of an exit have no users.
    pub(super) fn rules(&mut self, written: &[At<section::Rule>], users: &[UserPlan]) -> Vec<Rule> {
        let mut catch_all: Option<&Place> = None;
        let mut rules = Vec::with_capacity(written.len());
        for (index, rule) in written.iter().enumerate() {
            if let Some(first) = catch_all.take() {
                let message = "this rule is never reached: the one before it matches everything";
                let diagnostic =
                    Diagnostic::new(&rule.place, message).earlier(first, "matches everything");
                self.note(
                    diagnostic
                        .help("give the earlier rule something to match, such as a host or a port")
                        .absent(),
                );
            }
            catch_all = matches_everything(&rule.value).then_some(&rule.place);
            rules.extend(self.rule(index + 1, rule, users));
        }
        rules
    }

    fn rule(
        &mut self,
        number: usize,
        rule: &At<section::Rule>,
        users: &[UserPlan],
    ) -> Option<Rule> {
        let written = &rule.value;
        self.refuse_empty_lists(written);
        let plan = Rule {
            number,
            hosts: self.names("host", &written.host),
            suffixes: self.names("suffix", &written.suffix),
            cidrs: self.networks("cidr", &written.cidr),
            ports: self.ports(&written.port),
            users: self.rule_users(&written.user, users),
            clients: self.client_patterns("client", &written.client),
            action: self.action(rule)?,
        };
        Some(plan)
    }

    /// An empty list reads like "nothing" and would mean "everything".
    fn refuse_empty_lists(&mut self, rule: &section::Rule) {
        for (key, list) in lists(rule) {
            if let Some(list) = list.as_ref().filter(|list| list.value.is_empty()) {
                self.note(Diagnostic::new(
                    &list.place,
                    format!("`{key}` is empty: leave it out to match everything"),
                ));
            }
        }
    }

    fn action(&mut self, rule: &At<section::Rule>) -> Option<RuleAction> {
        let parent = rule
            .value
            .via
            .as_ref()
            .map(|via| (&via.place, self.parent(via)));
        if rule.value.action.is_none() {
            let diagnostic = Diagnostic::new(&rule.place, "this rule has no `action`");
            self.note(diagnostic.help("for example action = \"deny\"").absent());
            return None;
        }
        let word = OneOf::value(self, "action", &rule.value.action, ())?;
        match (word, parent) {
            (ActionWord::Allow, None) => Some(RuleAction::Allow),
            (ActionWord::Deny, None) => Some(RuleAction::Deny),
            (ActionWord::Via, Some((_, parent))) => parent,
            (ActionWord::Allow | ActionWord::Deny, Some((place, _))) => {
                let diagnostic = Diagnostic::new(place, "`via` needs action = \"via\"");
                self.note(diagnostic.help("change the action, or take `via` out"));
                None
            }
            (ActionWord::Via, None) => {
                let place = rule
                    .value
                    .action
                    .as_ref()
                    .map_or(&rule.place, |action| &action.place);
                let diagnostic = Diagnostic::new(
                    place,
                    "action = \"via\" needs `via`, the parent to go through",
                );
                self.note(
                    diagnostic
                        .help("for example via = \"socks5://192.0.2.1:1080\"")
                        .absent(),
                );
                None
            }
        }
    }

    fn parent(&mut self, via: &At<Secret>) -> Option<RuleAction> {
        let parent = self.checked("via", &via.place, parse_parent(via.value.expose()))?;
        Some(RuleAction::Via(Arc::new(parent)))
    }

    fn names(&mut self, key: &str, texts: &Option<At<Vec<Text>>>) -> Vec<HostName> {
        let texts = texts.iter().flat_map(|list| &list.value);
        texts
            .filter_map(|text| self.checked(key, &text.place, host_name(key, &text.value)))
            .collect()
    }

    fn ports(&mut self, texts: &Option<At<Vec<Text>>>) -> Vec<RangeInclusive<u16>> {
        let texts = texts.iter().flat_map(|list| &list.value);
        texts
            .filter_map(|text| self.checked("port", &text.place, port_range(&text.value)))
            .collect()
    }

    fn rule_users(&mut self, texts: &Option<At<Vec<Text>>>, users: &[UserPlan]) -> Vec<Arc<str>> {
        let mut named = Vec::new();
        for text in texts.iter().flat_map(|list| &list.value) {
            match users.iter().find(|user| *user.name == *text.value) {
                Some(user) => named.push(user.name.clone()),
                None => self.note(unknown_user(text, users)),
            }
        }
        named
    }
}

/// Whether it dials any target from here. What goes out through an exit is parked there.
pub(super) fn dials(written: &Egress) -> bool {
    let join = &written.join;
    let has_exit = join.join.is_some() || join.join_file.is_some();
    !has_exit || written.rule.iter().any(|rule| rule.value.via.is_some())
}

fn unknown_user(text: &Text, users: &[UserPlan]) -> Diagnostic {
    let message = format!("there is no user `{}` in this [[proxy]]", text.value);
    let help = match nearest(&text.value, users.iter().map(|user| &*user.name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add it to `users`, or take it out of the rule".to_owned(),
    };
    // The user may be in the file, with an error of its own.
    Diagnostic::new(&text.place, message).help(help).absent()
}

fn lists(rule: &section::Rule) -> [(&'static str, &Option<At<Vec<Text>>>); 6] {
    [
        ("host", &rule.host),
        ("suffix", &rule.suffix),
        ("cidr", &rule.cidr),
        ("port", &rule.port),
        ("user", &rule.user),
        ("client", &rule.client),
    ]
}

fn matches_everything(rule: &section::Rule) -> bool {
    lists(rule).iter().all(|(_, list)| list.is_none())
}

/// A suffix may begin with a dot, as in other programs.
fn host_name(key: &str, text: &str) -> Result<HostName, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Err(format!("`{text}` is an address: write it in `cidr`"));
    }
    if let Some(name) = text.strip_prefix("*.") {
        return Err(format!(
            "`{text}` has a star: write suffix = \"{name}\", which covers {name} and everything below it"
        ));
    }
    let name = if key == "suffix" {
        text.strip_prefix('.').unwrap_or(text)
    } else {
        text
    };
    name.parse().map_err(|_| match text.contains(':') {
        true => {
            format!("`{text}` has a port or a scheme: write the name alone, and ports in `port`")
        }
        false => format!("`{text}` is not a host name: write one such as example.com"),
    })
}

/// `443` or `8000-8999`.
fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let bad = |_| {
        format!(
            "`{text}` is not a port or a range of ports: write 443 or 8000-8999, from 1 to 65535"
        )
    };
    let (from, to) = (
        parse_port(from.trim()).map_err(bad)?,
        parse_port(to.trim()).map_err(bad)?,
    );
    match from <= to {
        true => Ok(from..=to),
        false => Err(format!("`{text}` runs backwards: write {to}-{from}")),
    }
}
