//! Policy as tables: rules, targets, users, and the decisions.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::{self, ListenerPlan};

fn plan(text: &str) -> Arc<Plan> {
    Arc::new(
        config::parse(text, "test.toml", Path::new("/tmp"))
            .unwrap_or_else(|errors| panic!("{errors}")),
    )
}

fn egress(rules: &str) -> Arc<Plan> {
    plan(&format!("[[proxy]]\nlisten = \"127.0.0.1:0\"\n{rules}"))
}

fn first(plan: &Plan) -> &ListenerPlan {
    plan.listeners.first().unwrap()
}

fn ask(plan: &Arc<Plan>, target: &str, user: Option<&str>) -> Result<Allowed, Fault> {
    let (own, target, user) = (Arc::from([]), target.parse().unwrap(), user.map(Arc::from));
    let role = &first(plan).frontend.role;
    decide(&Inquiry {
        plan,
        role,
        peer: None,
        user: user.as_ref(),
        client: None,
        own: &own,
        ask: Ask::Target(&target),
    })
}

/// The decision about a target in one word: the outbound's kind, or the status of the refusal.
fn verdict(plan: &Arc<Plan>, target: &str) -> String {
    match ask(plan, target, None) {
        Ok(allowed) => match allowed.outbound() {
            Outbound::Direct(_) => format!("direct by {}", allowed.because()),
            Outbound::Via(parent, _) => format!("via {parent} by {}", allowed.because()),
            Outbound::Pooled(_) => "pooled".into(),
            Outbound::Exit(link, target) => {
                format!("{target} through the link {link} by {}", allowed.because())
            }
            Outbound::Service(name) => format!("service {name} by {}", allowed.because()),
        },
        Err(fault) => fault.status().to_string(),
    }
}

const BY_DEFAULT: &str = "direct by the default, as no rule matched";

#[test]
fn public_targets_are_allowed_by_default_and_the_guard_denies_the_rest() {
    let plan = egress("");
    for target in [
        "93.184.216.34:443",
        "[2606:2800:220:1::1]:443",
        "example.com:443",
    ] {
        assert_eq!(verdict(&plan, target), BY_DEFAULT, "{target}");
    }
    let inside = [
        "127.0.0.1:80",
        "10.0.0.5:80",
        "192.168.1.1:80",
        "172.16.0.1:80",
        "169.254.169.254:80",
        "100.64.0.1:80",
        "100.100.100.200:80",
        "0.0.0.0:80",
        "255.255.255.255:80",
        "198.18.0.1:80",
        "224.0.0.1:80",
        "[::1]:80",
        "[::]:80",
        "[::ffff:127.0.0.1]:80",
        "[64:ff9b::7f00:1]:80",
        "[2002:7f00:1::]:80",
        "[fe80::1]:80",
        "[fd00:ec2::254]:80",
        "[ff02::1]:80",
    ];
    for target in inside {
        assert_eq!(verdict(&plan, target), "403", "{target}");
    }
}

#[test]
fn the_first_rule_that_matches_wins() {
    let plan = egress(
        "[[proxy.rule]]\naction = \"deny\"\nhost = [\"a.example.com\"]\n\
         [[proxy.rule]]\naction = \"allow\"\nsuffix = [\"example.com\"]\n\
         [[proxy.rule]]\naction = \"deny\"\nport = [443]\n",
    );
    assert_eq!(verdict(&plan, "a.example.com:80"), "403");
    assert_eq!(verdict(&plan, "b.example.com:443"), "direct by rule 2");
    assert_eq!(verdict(&plan, "example.org:443"), "403");
    assert_eq!(verdict(&plan, "example.org:80"), BY_DEFAULT);
}

#[test]
fn only_a_cidr_rule_opens_what_the_guard_denies() {
    let by_port = egress("[[proxy.rule]]\naction = \"allow\"\nport = [80]\n");
    assert_eq!(verdict(&by_port, "10.0.0.5:80"), "403");
    let by_cidr = egress("[[proxy.rule]]\naction = \"allow\"\ncidr = [\"10.0.0.0/8\"]\n");
    assert_eq!(verdict(&by_cidr, "10.0.0.5:80"), "direct by rule 1");
    assert_eq!(
        verdict(&by_cidr, "[::ffff:10.0.0.5]:80"),
        "direct by rule 1"
    );
    assert_eq!(verdict(&by_cidr, "192.168.0.1:80"), "403");
}

#[test]
fn a_name_that_is_allowed_still_carries_the_guard_to_the_dialler() {
    let plan = egress("[[proxy.rule]]\naction = \"allow\"\nhost = [\"intranet.corp\"]\n");
    let allowed = ask(&plan, "intranet.corp:80", None).unwrap();
    assert!(
        allowed
            .rules()
            .check("10.0.0.5:80".parse().unwrap())
            .is_err()
    );
    assert!(
        allowed
            .rules()
            .check("93.184.216.34:80".parse().unwrap())
            .is_ok()
    );
}

#[test]
fn with_default_deny_a_name_may_resolve_to_an_allowed_address_only() {
    let plan = egress(
        "default = \"deny\"\n[[proxy.rule]]\naction = \"allow\"\ncidr = [\"203.0.112.0/24\"]\n\
         [[proxy.rule]]\naction = \"allow\"\nhost = [\"good.example\"]\n",
    );
    assert_eq!(verdict(&plan, "8.8.8.8:53"), "403");
    let unnamed = ask(&plan, "other.example:80", None).unwrap();
    assert!(
        unnamed
            .rules()
            .check("203.0.112.7:80".parse().unwrap())
            .is_ok()
    );
    assert!(
        unnamed
            .rules()
            .check("8.8.8.8:80".parse().unwrap())
            .is_err()
    );
    let named = ask(&plan, "good.example:80", None).unwrap();
    assert!(named.rules().check("8.8.8.8:80".parse().unwrap()).is_ok());
    let closed = egress(
        "default = \"deny\"\n[[proxy.rule]]\naction = \"allow\"\nhost = [\"good.example\"]\n",
    );
    assert_eq!(verdict(&closed, "other.example:80"), "403");
}

#[test]
fn a_trailing_dot_in_a_rule_or_in_a_target_changes_nothing() {
    for (host, suffix) in [("a.example", "b.example"), ("a.example.", ".b.example.")] {
        let plan = egress(&format!(
            "[[proxy.rule]]\naction = \"deny\"\nhost = \"{host}\"\n\
             [[proxy.rule]]\naction = \"deny\"\nsuffix = \"{suffix}\"\n"
        ));
        for target in [
            "a.example:80",
            "a.example.:80",
            "A.Example.:80",
            "b.example.:80",
            "x.b.example.:80",
        ] {
            assert_eq!(verdict(&plan, target), "403", "{host} {suffix} {target}");
        }
        assert_eq!(verdict(&plan, "c.example.:80"), BY_DEFAULT);
    }
}

#[test]
fn rules_for_a_user_apply_to_no_other_user() {
    let plan = egress(
        "users = [{ name = \"alice\", password = \"a\" }, { name = \"bob\", password = \"b\" }]\n\
         [[proxy.rule]]\naction = \"allow\"\ncidr = [\"10.0.0.0/8\"]\nuser = [\"alice\"]\n",
    );
    assert!(ask(&plan, "10.0.0.5:80", Some("alice")).is_ok());
    assert_eq!(
        ask(&plan, "10.0.0.5:80", Some("bob"))
            .err()
            .unwrap()
            .status(),
        403
    );
}

#[test]
fn a_look_up_is_charged_to_the_user_or_else_the_address_and_an_operators_to_its_own_share() {
    let client = |plan: &Arc<Plan>, user: Option<&str>, peer: Option<&str>, asked: Ask<'_>| {
        let (own, user) = (Arc::from([]), user.map(Arc::from));
        let peer = peer.map(|peer| peer.parse().unwrap());
        let inquiry = Inquiry {
            plan,
            role: &first(plan).frontend.role,
            peer,
            user: user.as_ref(),
            client: None,
            own: &own,
            ask: asked,
        };
        decide(&inquiry).unwrap().client().clone()
    };
    let target = "example.com:443".parse().unwrap();
    let (open, named) = (egress(""), Ask::Target(&target));
    assert_eq!(
        client(&open, Some("alice"), Some("192.0.2.1:5"), named),
        ClientId::User("alice".into())
    );
    assert_eq!(
        client(&open, None, Some("[2001:db8::7]:5"), named),
        ClientId::peer("2001:db8::1".parse().unwrap())
    );
    assert_eq!(client(&open, None, None, named), ClientId::User("".into()));
    let forward = plan("[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"db.example:22\"\n");
    assert_eq!(
        client(&forward, None, Some("192.0.2.1:5"), Ask::Fixed),
        ClientId::Own
    );
}

#[test]
fn names_are_sent_to_a_parent_only_by_a_rule_that_lists_them() {
    let named = egress(
        "[[proxy.rule]]\naction = \"via\"\nvia = \"socks5://127.0.0.1:9050\"\nsuffix = [\"onion.example\"]\n",
    );
    assert_eq!(
        verdict(&named, "x.onion.example:80"),
        "via socks5://127.0.0.1:9050 by rule 1"
    );
    let everything =
        egress("[[proxy.rule]]\naction = \"via\"\nvia = \"socks5://127.0.0.1:9050\"\n");
    assert_eq!(verdict(&everything, "x.example.com:80"), "403");
    assert_eq!(
        verdict(&everything, "93.184.216.34:80"),
        "via socks5://127.0.0.1:9050 by rule 1"
    );
    assert_eq!(verdict(&everything, "10.0.0.1:80"), "403");
}

#[test]
fn bytes_are_spilled_on_the_node_that_dials() {
    const JOIN: &str = "by1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAqcn-2@t.example.com:7000";
    let via = "[[proxy.rule]]\naction = \"via\"\nvia = \"socks5://127.0.0.1:1\"\nhost = \"parent.example\"\n";
    let desk = egress(&format!("join = \"{JOIN}\"\n{via}"));
    let spills_on = |plan: &Arc<Plan>, target: &str| ask(plan, target, None).unwrap().spills();
    assert!(!spills_on(&desk, "example.com:443"), "the exit spills");
    assert!(spills_on(&desk, "parent.example:443"));
    assert!(spills_on(&egress(""), "example.com:443"));
    assert!(spills_on(
        &plan("[[exit]]\nlisten = \"127.0.0.1:0\"\n"),
        "example.com:443"
    ));
}

#[test]
fn an_egress_does_not_connect_to_unix_sockets() {
    assert_eq!(verdict(&egress(""), "unix:/run/docker.sock"), "403");
}

#[test]
fn a_listener_serves_only_its_own_kind_of_inquiry() {
    let plan = plan("[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.1:22\"\n");
    assert_eq!(
        ask(&plan, "example.com:80", None).err().unwrap().status(),
        500
    );
}

#[test]
fn the_first_route_whose_host_and_path_match_wins_and_none_is_404() {
    let plan = plan(
        "[[edge]]\nlisten = \"127.0.0.1:0\"\n\
         [[edge.route]]\nname = \"api\"\nhosts = [\"app.example.com\"]\npath = \"^/api/\"\nto = \"127.0.0.1:1\"\n\
         [[edge.route]]\nname = \"app\"\nhosts = [\"*.example.com\"]\nto = \"127.0.0.1:2\"\n\
         [[edge.route]]\nname = \"static\"\npath = \"[.]css$\"\nto = \"127.0.0.1:3\"\n",
    );
    let route = |host, path| {
        let own = Arc::from([]);
        let ask = Ask::Request { host, path };
        decide(&Inquiry {
            plan: &plan,
            role: &first(&plan).frontend.role,
            peer: None,
            user: None,
            client: None,
            own: &own,
            ask,
        })
        .map(|allowed| allowed.because().to_string())
        .map_err(|fault| fault.status())
    };
    assert_eq!(route("app.example.com", "/api/x"), Ok("route api".into()));
    assert_eq!(route("APP.example.com", "/api/x"), Ok("route api".into()));
    assert_eq!(route("app.example.com.", "/api/x"), Ok("route api".into()));
    assert_eq!(route("b.example.com.", "/"), Ok("route app".into()));
    assert_eq!(route("app.example.com..", "/"), Err(404));
    assert_eq!(route("app.example.com", "/apix"), Ok("route app".into()));
    assert_eq!(route("other.org", "/a.css"), Ok("route static".into()));
    assert_eq!(route("other.org", "/a.html"), Err(404));
}

/// A Plan whose join strings come from files that are not read.
fn linked(text: &str) -> Arc<Plan> {
    let around = config::Surroundings::without_files(Path::new("/tmp"));
    Arc::new(
        config::parse_with(text, "test.toml", &around).unwrap_or_else(|errors| panic!("{errors}")),
    )
}

fn desk(rules: &str) -> Arc<Plan> {
    linked(&format!(
        "[[proxy]]\nlisten = \"127.0.0.1:0\"\njoin_file = \"/join\"\n{rules}"
    ))
}

#[test]
fn what_a_desk_allows_goes_through_its_exit_which_decides_again() {
    let plan = desk("");
    for target in [
        "example.com:443",
        "93.184.216.34:443",
        "10.0.0.5:80",
        "127.0.0.1:80",
    ] {
        let verdict = verdict(&plan, target);
        assert!(
            verdict.starts_with(&format!("{target} through the link ")),
            "{verdict}"
        );
    }
}

#[test]
fn a_desk_checks_literal_addresses_against_its_rules_and_never_resolves_a_name_for_that() {
    let plan = desk(
        "default = \"deny\"\n[[proxy.rule]]\naction = \"deny\"\ncidr = \"10.0.0.0/8\"\n[[proxy.rule]]\naction = \"allow\"\n\
         cidr = \"192.0.2.0/24\"\n[[proxy.rule]]\naction = \"allow\"\nsuffix = \"example.com\"\n",
    );
    assert!(verdict(&plan, "192.0.2.7:80").starts_with("192.0.2.7:80 through the link "));
    assert!(
        verdict(&plan, "www.example.com:80").starts_with("www.example.com:80 through the link ")
    );
    assert_eq!(verdict(&plan, "10.0.0.5:80"), "403");
    assert_eq!(
        verdict(&plan, "other.example:80"),
        "403",
        "only the exit can resolve whether it is in 192.0.2.0/24"
    );
}

#[test]
fn an_exit_guards_its_network_as_an_egress_does() {
    let plan = linked(
        "[[exit]]\nlisten = \"127.0.0.1:0\"\n[[exit.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n",
    );
    assert_eq!(verdict(&plan, "example.com:443"), BY_DEFAULT);
    assert_eq!(verdict(&plan, "127.0.0.1:80"), "direct by rule 1");
    assert_eq!(verdict(&plan, "10.0.0.5:80"), "403");
}

#[test]
fn a_server_of_services_and_an_agent_dial_nothing_for_the_other_side() {
    let server = linked("[[serve]]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(verdict(&server, "example.com:443"), "403");
    let agent = linked("[[expose]]\ntcp = \"127.0.0.1:22\"\njoin_file = \"/join\"\n");
    let role = Role::Agent(Arc::clone(&agent.joins[0]));
    let (own, target) = (Arc::from([]), "127.0.0.1:80".parse().unwrap());
    let ask = |ask| {
        decide(&Inquiry {
            plan: &agent,
            role: &role,
            peer: None,
            user: None,
            client: None,
            own: &own,
            ask,
        })
    };
    assert_eq!(ask(Ask::Target(&target)).err().unwrap().status(), 403);
    let service = ask(Ask::Service(&agent.joins[0].services[0])).unwrap();
    assert!(matches!(service.outbound(), Outbound::Direct(to) if to.to_string() == "127.0.0.1:22"));
}

#[test]
fn only_a_name_one_label_below_the_domain_goes_to_its_service() {
    let plan = linked(
        "[[serve]]\nlisten = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ndomain = \"t.example.com.\"\n",
    );
    let role = &plan.listeners[1].frontend.role;
    let own = Arc::from([]);
    let verdict = |host: &str| {
        let ask = Ask::Request { host, path: "/" };
        match decide(&Inquiry {
            plan: &plan,
            role,
            peer: None,
            user: None,
            client: None,
            own: &own,
            ask,
        }) {
            Ok(allowed) => match allowed.outbound() {
                Outbound::Service(name) => name.to_string(),
                other => format!("{other:?}"),
            },
            Err(fault) => fault.status().to_string(),
        }
    };
    assert_eq!(verdict("app.t.example.com"), "name `app.t.example.com`");
    assert_eq!(verdict("APP.T.Example.com"), "name `app.t.example.com`");
    assert_eq!(verdict("app.t.example.com."), "name `app.t.example.com`");
    for host in [
        "t.example.com",
        "a.b.t.example.com",
        ".t.example.com",
        "apt.example.com",
        "example.com",
        "127.0.0.1",
    ] {
        assert_eq!(verdict(host), "404", "{host}");
    }
}

const VIA: &str = "[[proxy.rule]]\naction = \"via\"\nvia = \"socks5://127.0.0.1:9050\"\n";

#[test]
fn a_network_sent_to_a_parent_is_not_open_for_names_dialled_here() {
    for network in ["10.0.0.0/8", "0.0.0.0/0", "::/0"] {
        let plan = egress(&format!("{VIA}cidr = [\"{network}\"]\n"));
        let named = ask(&plan, "evil.example:80", None).unwrap();
        assert!(matches!(named.outbound(), Outbound::Direct(_)));
        for inside in ["10.9.9.9:80", "127.0.0.1:80", "[::1]:80", "[fd00::1]:80"] {
            assert!(
                named.rules().check(inside.parse().unwrap()).is_err(),
                "{network} opened {inside}"
            );
        }
        assert!(
            named
                .rules()
                .check("93.184.216.34:80".parse().unwrap())
                .is_ok(),
            "{network}"
        );
    }
}

#[test]
fn a_network_sent_to_a_parent_is_not_open_where_the_default_is_deny() {
    let plan = egress(&format!(
        "default = \"deny\"\n{VIA}cidr = [\"203.0.112.0/24\"]\n\
         [[proxy.rule]]\naction = \"allow\"\ncidr = [\"198.51.0.0/24\"]\n"
    ));
    let named = ask(&plan, "other.example:80", None).unwrap();
    assert!(
        named
            .rules()
            .check("198.51.0.7:80".parse().unwrap())
            .is_ok()
    );
    assert!(
        named
            .rules()
            .check("203.0.112.7:80".parse().unwrap())
            .is_err()
    );
}

#[test]
fn a_literal_address_goes_to_the_parent_of_its_network_unless_an_earlier_rule_denies_it() {
    let plan = egress(&format!(
        "[[proxy.rule]]\naction = \"deny\"\ncidr = [\"10.1.0.0/16\"]\n{VIA}cidr = [\"10.0.0.0/8\", \"64:ff9b::/96\"]\n"
    ));
    assert_eq!(
        verdict(&plan, "10.2.0.1:80"),
        "via socks5://127.0.0.1:9050 by rule 2"
    );
    assert_eq!(verdict(&plan, "10.1.0.1:80"), "403");
    assert_eq!(
        verdict(&plan, "[64:ff9b::a01:1]:80"),
        "403",
        "it carries 10.1.0.1"
    );
    assert_eq!(verdict(&plan, "192.168.0.1:80"), "403");
}

#[test]
fn mail_delivery_is_closed_by_default_and_a_rule_that_lists_the_port_opens_it() {
    let refusal = |plan: &Arc<Plan>, target: &str| {
        ask(plan, target, None).err().map(|fault| fault.to_string())
    };
    let plan = egress("[[proxy.rule]]\naction = \"allow\"\nsuffix = [\"example.com\"]\n");
    for target in [
        "mail.example.com:25",
        "other.example:25",
        "93.184.216.34:25",
        "[2606:4700::1111]:25",
    ] {
        assert_eq!(refusal(&plan, target), Some(closed_port(25)), "{target}");
    }
    assert!(closed_port(25).contains("port = 25"));
    for target in [
        "mail.example.com:465",
        "mail.example.com:587",
        "mail.example.com:26",
    ] {
        assert_eq!(refusal(&plan, target), None, "{target}");
    }
    let by_port = egress("[[proxy.rule]]\naction = \"allow\"\nport = [25]\n");
    assert_eq!(verdict(&by_port, "93.184.216.34:25"), "direct by rule 1");
    assert_eq!(verdict(&by_port, "10.0.0.1:25"), "403");
    let named = ask(&by_port, "mail.example.com:25", None).unwrap();
    assert!(
        named
            .rules()
            .check("93.184.216.34:25".parse().unwrap())
            .is_ok()
    );
    assert!(named.rules().check("10.0.0.1:25".parse().unwrap()).is_err());
    let by_network =
        egress("[[proxy.rule]]\naction = \"allow\"\ncidr = [\"203.0.112.0/24\"]\nport = [25]\n");
    let named = ask(&by_network, "mail.example.com:25", None).unwrap();
    assert!(
        named
            .rules()
            .check("203.0.112.7:25".parse().unwrap())
            .is_ok()
    );
    assert!(
        named
            .rules()
            .check("93.184.216.34:25".parse().unwrap())
            .is_err()
    );
}

#[test]
fn a_range_of_ports_never_opens_mail_delivery() {
    let allow = "[[proxy.rule]]\naction = \"allow\"\n";
    for matcher in [
        "",
        "suffix = [\"example.com\"]\n",
        "cidr = [\"93.184.0.0/16\"]\n",
    ] {
        let ranged = egress(&format!("{allow}{matcher}port = [\"1-30\", 443]\n"));
        assert_eq!(verdict(&ranged, "mail.example.com:25"), "403", "{matcher}");
        assert_eq!(verdict(&ranged, "93.184.216.34:25"), "403", "{matcher}");
        for named in ["25", "\"25-25\""] {
            let plan = egress(&format!("{allow}{matcher}port = [\"1-30\", {named}]\n"));
            assert!(
                ask(&plan, "mail.example.com:25", None).is_ok(),
                "{matcher} {named}"
            );
        }
    }
    let through = egress(&format!(
        "{VIA}suffix = [\"example.com\"]\nport = [\"20-30\"]\n"
    ));
    assert_eq!(verdict(&through, "mail.example.com:25"), "403");
    assert_eq!(
        verdict(&through, "mail.example.com:26"),
        "via socks5://127.0.0.1:9050 by rule 1"
    );
}

#[test]
fn mail_delivery_through_a_parent_is_closed_unless_the_rule_lists_the_port() {
    let plan = egress(&format!(
        "{VIA}suffix = [\"example.com\"]\n{VIA}cidr = [\"93.184.0.0/16\"]\n"
    ));
    assert_eq!(verdict(&plan, "mail.example.com:25"), "403");
    assert_eq!(verdict(&plan, "93.184.216.34:25"), "403");
    assert_eq!(
        verdict(&plan, "mail.example.com:443"),
        "via socks5://127.0.0.1:9050 by rule 1"
    );
    let plan = egress(&format!(
        "{VIA}suffix = [\"example.com\"]\nport = [25]\n{VIA}cidr = [\"93.184.0.0/16\"]\nport = [25]\n"
    ));
    assert_eq!(
        verdict(&plan, "mail.example.com:25"),
        "via socks5://127.0.0.1:9050 by rule 1"
    );
    assert_eq!(
        verdict(&plan, "93.184.216.34:25"),
        "via socks5://127.0.0.1:9050 by rule 2"
    );
    let desk = desk("");
    assert!(
        verdict(&desk, "mail.example.com:25").starts_with("mail.example.com:25 through"),
        "its exit decides"
    );
}

#[test]
fn a_desk_sends_no_private_addresses_and_no_mail_to_a_parent() {
    let everything = desk(VIA);
    for target in [
        "10.0.0.5:80",
        "127.0.0.1:80",
        "169.254.169.254:80",
        "[::1]:80",
        "93.184.216.34:25",
    ] {
        assert_eq!(verdict(&everything, target), "403", "{target}");
    }
    assert_eq!(
        verdict(&everything, "93.184.216.34:80"),
        "via socks5://127.0.0.1:9050 by rule 1"
    );
    let named = desk(&format!("{VIA}suffix = [\"example.com\"]\n"));
    assert_eq!(verdict(&named, "mail.example.com:25"), "403");
    assert_eq!(
        verdict(&named, "www.example.com:80"),
        "via socks5://127.0.0.1:9050 by rule 1"
    );
    assert!(
        verdict(&named, "10.0.0.5:80").starts_with("10.0.0.5:80 through the link "),
        "its exit decides"
    );
    let opened = desk(&format!("{VIA}cidr = [\"10.0.0.0/8\"]\n"));
    assert_eq!(
        verdict(&opened, "10.0.0.5:80"),
        "via socks5://127.0.0.1:9050 by rule 1"
    );
}

#[test]
fn a_network_that_is_allowed_here_is_not_open_through_a_parent() {
    let plan = egress(&format!(
        "{VIA}port = [80]\n[[proxy.rule]]\naction = \"allow\"\ncidr = [\"10.0.0.0/8\", \"127.0.0.0/8\"]\n"
    ));
    assert_eq!(verdict(&plan, "10.0.0.5:81"), "direct by rule 2");
    for target in ["10.0.0.5:80", "127.0.0.1:80", "[::ffff:10.0.0.5]:80"] {
        assert_eq!(verdict(&plan, target), "403", "{target}");
    }
    assert_eq!(
        verdict(&plan, "93.184.216.34:80"),
        "via socks5://127.0.0.1:9050 by rule 1"
    );
}

#[test]
fn a_parent_is_sent_the_address_in_the_form_that_was_checked() {
    let plan = egress(&format!("{VIA}cidr = [\"10.0.0.0/8\"]\n"));
    let allowed = ask(&plan, "[::ffff:10.0.0.5]:80", None).unwrap();
    assert!(
        matches!(allowed.outbound(), Outbound::Via(_, target) if target.to_string() == "10.0.0.5:80")
    );
}

#[test]
fn earlier_denials_by_name_and_port_apply_to_a_name_that_is_sent_to_a_parent() {
    let plan = egress(&format!(
        "[[proxy.rule]]\naction = \"deny\"\nhost = [\"a.example.com\"]\n\
         [[proxy.rule]]\naction = \"deny\"\nport = [22]\n{VIA}suffix = [\"example.com\"]\n"
    ));
    assert_eq!(verdict(&plan, "a.example.com:80"), "403");
    assert_eq!(verdict(&plan, "b.example.com:22"), "403");
    assert_eq!(
        verdict(&plan, "b.example.com:80"),
        "via socks5://127.0.0.1:9050 by rule 3"
    );
}

#[test]
fn names_that_look_like_addresses_are_not_sent_to_a_parent() {
    for text in [
        "127.1:80",
        "0x7f.1:80",
        "127.0.0.1.:80",
        "2130706433:80",
        "a.example.com.127:80",
        "[::1%1]:80",
    ] {
        assert!(text.parse::<Target>().is_err(), "{text}");
    }
    let plan = egress(&format!("{VIA}suffix = [\"example.com\"]\n"));
    assert_eq!(verdict(&plan, "127.0.0.1:80"), "403");
}

#[test]
fn a_rule_by_network_for_one_user_sends_nothing_of_another_to_its_parent() {
    let plan = egress(&format!(
        "users = [{{ name = \"alice\", password = \"a\" }}, {{ name = \"bob\", password = \"b\" }}]\n\
         {VIA}cidr = [\"10.0.0.0/8\"]\nuser = [\"alice\"]\n{VIA}port = [80]\n"
    ));
    let because = |user| {
        ask(&plan, "10.0.0.5:80", Some(user))
            .map(|allowed| allowed.because().clone())
            .ok()
    };
    assert_eq!(because("alice"), Some(Because::Rule(1)));
    assert_eq!(
        because("bob"),
        None,
        "rule 2 sends it, and opens no private address"
    );
}

/// A config that asks for client certificates, and `more`.
fn asking(more: &str) -> Arc<Plan> {
    plan(&format!(
        "[[tls.client]]\nhosts = [\"a.example\"]\nca = \"clients.pem\"\nmode = \"optional\"\n\
         [[certificate]]\ncert = \"a.pem\"\n{more}"
    ))
}

/// The decision about `ask` for a client with a certificate that has `has`; for one without a
/// certificate if that is empty.
fn for_client(plan: &Arc<Plan>, ask: Ask<'_>, has: &[&str]) -> String {
    let patterns: Vec<ClientPattern> = has.iter().map(|text| text.parse().unwrap()).collect();
    let client = ClientPattern::example(&patterns).unwrap();
    let decided = decide(&Inquiry {
        plan,
        role: &first(plan).frontend.role,
        peer: None,
        user: None,
        client: (!has.is_empty()).then_some(&client),
        own: &Arc::from([]),
        ask,
    });
    match decided {
        Ok(allowed) => allowed.because().to_string(),
        Err(fault) => fault.status().to_string(),
    }
}

#[test]
fn a_rule_for_client_certificates_is_for_them_alone_and_nothing_is_for_a_client_without_one() {
    let plan = asking(
        "[[proxy]]\nhttps = \"127.0.0.1:0\"\ndefault = \"deny\"\n\
         [[proxy.rule]]\naction = \"deny\"\nhost = \"secret.example\"\nclient = \"CN=mallory\"\n\
         [[proxy.rule]]\naction = \"allow\"\nclient = [\"CN=alice\", \"CN=mallory\", \"URI:spiffe://a/b\"]\n\
         [[proxy.rule]]\naction = \"allow\"\nhost = \"news.example\"\nclient = \"*\"\n\
         [[proxy.rule]]\naction = \"allow\"\ncidr = \"10.0.0.0/8\"\nclient = \"DNS:build.example\"\n",
    );
    let (secret, news, inside) = ("secret.example:443", "news.example:443", "10.0.0.1:443");
    for (has, target, expected) in [
        (&["CN=alice"][..], secret, "rule 2"),
        (&["CN=mallory"], secret, "403"),
        (&["CN=mallory"], news, "rule 2"),
        (&["CN=bob"], secret, "403"),
        (&["CN=bob"], news, "rule 3"),
        (&["CN=bob", "URI:spiffe://a/b"], secret, "rule 2"),
        // Only the rule for this certificate opens what the guard closes.
        (&["CN=bob", "DNS:build.example"], inside, "rule 4"),
        (&["CN=alice"], inside, "403"),
        (&["CN=bob"], inside, "403"),
        (&[], secret, "403"),
        (&[], news, "403"),
        (&[], inside, "403"),
    ] {
        let target = target.parse().unwrap();
        let found = for_client(&plan, Ask::Target(&target), has);
        assert_eq!(found, expected, "{has:?} {target}");
    }
}

#[test]
fn a_route_for_client_certificates_refuses_others_and_leaves_them_to_no_later_route() {
    let plan = asking(
        "[[edge]]\nhttps = \"127.0.0.1:0\"\n\
         [[edge.route]]\nname = \"admin\"\npath = \"^/admin\"\nclients = [\"CN=alice\"]\nto = \"127.0.0.1:1\"\n\
         [[edge.route]]\nname = \"rest\"\nto = \"127.0.0.1:2\"\n",
    );
    for (has, path, expected) in [
        (&["CN=alice"][..], "/admin", "route admin"),
        (&["CN=bob"], "/admin", "403"),
        (&["DNS:alice"], "/admin", "403"),
        (&[], "/admin", "403"),
        (&[], "/", "route rest"),
        (&["CN=bob"], "/", "route rest"),
    ] {
        let host = "a.example";
        let found = for_client(&plan, Ask::Request { host, path }, has);
        assert_eq!(found, expected, "{has:?} {path}");
    }
}
