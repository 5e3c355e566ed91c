//! Flags: Plans made without a file.

use std::path::Path;

use super::super::*;

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn edge(from: &[&str], to: &[&str]) -> Result<Plan, ConfigErrors> {
    from_flags(&File::for_edge(owned(from), owned(to)), Path::new("/state"))
}

fn egress(flags: ProxyFlags) -> Result<EgressPlan, ConfigErrors> {
    let plan = from_flags(&File::for_proxy(flags), Path::new("/state"))?;
    let Role::Egress(egress) = &plan.listeners[0].frontend.role else {
        panic!("an exit")
    };
    Ok(EgressPlan::clone(egress))
}

#[test]
fn an_edge_on_one_line_has_one_route_for_everything() {
    let plan = edge(&[":8080"], &["127.0.0.1:3000", "127.0.0.1:3001"]).unwrap();
    assert_eq!(plan.listeners[0].bind.to_string(), "[::]:8080");
    let Role::Edge(edge) = &plan.listeners[0].frontend.role else {
        panic!("an edge")
    };
    assert_eq!(edge.routes.len(), 1);
    assert_eq!(edge.routes[0].upstreams.len(), 2);
}

#[test]
fn errors_of_the_command_line_name_the_flag_and_its_value() {
    let shown = edge(&["8080"], &["app:443"]).unwrap_err().to_string();
    let expected = "\
error: `--listen`: `8080` is a port alone: write 127.0.0.1:8080 for this machine only, or :8080 for every address
 |
 = in --listen 8080

error: `--to`: `app:443` is the port of TLS, but has no scheme: write https://app, or http://app:443 if it speaks plain HTTP there
 |
 = in --to app:443

2 errors on the command line";
    assert_eq!(shown, expected);
}

#[test]
fn nothing_to_forward_to_names_the_flag() {
    let shown = edge(&[":1"], &[]).unwrap_err().to_string();
    assert!(
        shown.contains("`--to` is empty: name at least one upstream, such as 127.0.0.1:3000"),
        "{shown}"
    );
}

#[test]
fn the_error_of_a_public_proxy_on_the_command_line_names_both_flags_that_fix_it() {
    let open = ProxyFlags {
        listen: owned(&["0.0.0.0:1080"]),
        ..ProxyFlags::default()
    };
    let shown = egress(open.clone()).unwrap_err().to_string();
    assert!(
        shown.contains(
            "`0.0.0.0:1080` can be reached from other machines, and any client could use it"
        ),
        "{shown}"
    );
    assert!(shown.contains("in --listen 0.0.0.0:1080"), "{shown}");
    assert!(
        shown.contains("add --user NAME:PASSWORD, or --open-to-the-world if that is intended"),
        "{shown}"
    );
    assert!(
        egress(ProxyFlags {
            open_to_the_world: true,
            ..open.clone()
        })
        .is_ok()
    );
    assert!(
        egress(ProxyFlags {
            users: owned(&["a:b:c"]),
            ..open
        })
        .unwrap()
        .users[0]
            .password
            .expose()
            == "b:c"
    );
}

#[test]
fn the_error_of_a_user_without_a_password_shows_the_form_and_never_a_password() {
    let listen = owned(&["127.0.0.1:1080"]);
    let flags = ProxyFlags {
        listen: listen.clone(),
        users: owned(&["alice"]),
        ..ProxyFlags::default()
    };
    let shown = egress(flags).unwrap_err().to_string();
    assert!(shown.contains("write --user NAME:PASSWORD"), "{shown}");
    let flags = ProxyFlags {
        listen,
        users: owned(&["a:hunter2", "a:hunter3"]),
        ..ProxyFlags::default()
    };
    let shown = egress(flags).unwrap_err().to_string();
    assert!(shown.contains("in --user a:***"), "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn deny_takes_hosts_suffixes_networks_and_ports_and_allow_takes_networks() {
    let flags = ProxyFlags {
        listen: owned(&["127.0.0.1:1080"]),
        allow: owned(&["10.0.0.0/8:8000-8999", "[::1]:22", "::1", "2001:db8::/32"]),
        deny: owned(&["10.0.0.1", "example.com:443", ".example.org", ":80"]),
        stream_limit: Some("1MB/s".to_owned()),
        ..ProxyFlags::default()
    };
    let egress = egress(flags).unwrap();
    assert_eq!(egress.settings.default, Verdict::Allow);
    assert_eq!(egress.settings.stream_limit, Some(Rate(1_000_000)));
    let shown: Vec<String> = egress.rules.iter().map(show_rule).collect();
    assert_eq!(
        shown,
        [
            "1 Deny [] [] [10.0.0.1/32] []",
            "2 Deny [example.com] [] [] [443..=443]",
            "3 Deny [] [example.org] [] []",
            "4 Deny [] [] [] [80..=80]",
            "5 Allow [] [] [10.0.0.0/8] [8000..=8999]",
            "6 Allow [] [] [::1/128] [22..=22]",
            "7 Allow [] [] [::1/128] []",
            "8 Allow [] [] [2001:db8::/32] []",
        ]
    );
}

fn show_rule(rule: &Rule) -> String {
    format!(
        "{} {:?} {:?} {:?} {:?} {:?}",
        rule.number, rule.action, rule.hosts, rule.suffixes, rule.cidrs, rule.ports
    )
}

#[test]
fn a_proxy_without_allow_permits_what_is_not_denied() {
    let flags = ProxyFlags {
        listen: owned(&["127.0.0.1:1"]),
        deny: owned(&["a.com"]),
        ..ProxyFlags::default()
    };
    assert_eq!(egress(flags).unwrap().settings.default, Verdict::Allow);
}

#[test]
fn bad_allow_and_deny_name_the_flag() {
    let listen = || owned(&["127.0.0.1:1"]);
    for (deny, message) in [
        ("", "`--deny`: `` is not a host name"),
        ("a b", "`--deny`: `a b` is not a host name"),
        ("a:0", "`--deny`: `0` is not a port or a range of ports"),
        ("*.a.com", "`--deny`: `*.a.com` has a star"),
    ] {
        let flags = ProxyFlags {
            listen: listen(),
            deny: owned(&[deny]),
            ..ProxyFlags::default()
        };
        let shown = egress(flags).unwrap_err().to_string();
        assert!(shown.contains(message), "{shown}");
    }
}

#[test]
fn an_allow_of_port_25_alone_opens_it_for_every_public_address() {
    let flags = ProxyFlags {
        listen: owned(&["127.0.0.1:0"]),
        allow: owned(&[":25"]),
        ..ProxyFlags::default()
    };
    let rule = &egress(flags).unwrap().rules[0];
    assert_eq!(
        (&rule.action, rule.ports.as_slice()),
        (&RuleAction::Allow, &[25..=25][..])
    );
    assert!(rule.cidrs.is_empty() && rule.hosts.is_empty() && rule.suffixes.is_empty());
}

#[test]
fn an_allow_that_is_not_a_network_is_refused_with_an_example() {
    for (allow, message) in [
        ("", "`--allow`: `` is not a network"),
        ("localhost", "`--allow`: `localhost` is not a network"),
        (".example.org", "`--allow`: `.example.org` is not a network"),
        (
            "example.com:443",
            "`--allow`: `example.com` is not a network",
        ),
        (":443", "`--allow`: `:443` is not a network"),
        ("10.0.0.0/99", "`--allow`: `10.0.0.0/99` is not a network"),
        (
            "10.0.0.1:0",
            "`--allow`: `0` is not a port or a range of ports",
        ),
    ] {
        let listen = owned(&["127.0.0.1:1"]);
        let proxy = ProxyFlags {
            listen: listen.clone(),
            allow: owned(&[allow]),
            ..ProxyFlags::default()
        };
        let exit = ExitFlags {
            listen,
            allow: owned(&[allow]),
            ..ExitFlags::default()
        };
        for file in [File::for_proxy(proxy), File::for_exit(exit)] {
            let shown = from_flags(&file, Path::new("/state"))
                .unwrap_err()
                .to_string();
            assert!(shown.contains(message), "{shown}");
            assert!(
                !message.ends_with("network") || shown.contains("write 10.0.0.0/8"),
                "{shown}"
            );
        }
    }
}

#[test]
fn a_port_alone_is_a_local_target_for_an_edge_and_for_a_service() {
    for (text, upstream, target) in [
        ("3000", "http://127.0.0.1:3000", "127.0.0.1:3000"),
        (":3000", "http://127.0.0.1:3000", "127.0.0.1:3000"),
        ("localhost:3000", "http://localhost:3000", "localhost:3000"),
        (
            "http://localhost:3000/",
            "http://localhost:3000",
            "localhost:3000",
        ),
        (
            "http://app.internal",
            "http://app.internal:80",
            "app.internal:80",
        ),
        ("http://[::1]", "http://[::1]:80", "[::1]:80"),
        (
            "unix:/run/app.sock",
            "unix:/run/app.sock",
            "unix:/run/app.sock",
        ),
    ] {
        let plan = edge(&["127.0.0.1:1"], &[text]).unwrap();
        let Role::Edge(edge) = &plan.listeners[0].frontend.role else {
            panic!("an edge")
        };
        assert_eq!(&*edge.routes[0].upstreams[0].id, upstream, "{text}");
        let plan = expose(http("app"), text, join_flag()).unwrap();
        assert_eq!(plan.joins[0].services[0].to.to_string(), target, "{text}");
    }
    for (text, message) in [
        (
            "https://localhost:3000",
            "an HTTP service is reached in plain HTTP here, not by TLS",
        ),
        ("http://localhost:3000/app", "its target takes no path"),
        ("99999", "`99999` is no port"),
    ] {
        let shown = expose(http("app"), text, join_flag())
            .unwrap_err()
            .to_string();
        assert!(shown.contains(message), "{shown}");
    }
}

fn http(name: &str) -> ExposedFlags {
    ExposedFlags::Http {
        name: Some(name.to_owned()),
        host: None,
    }
}

fn join_flag() -> JoinFlag {
    JoinFlag::Text {
        from: "--join",
        text: Secret::new(&super::links::join_at("t.example.com:7000", 7)),
    }
}

fn expose(service: ExposedFlags, to: &str, join: JoinFlag) -> Result<Plan, ConfigErrors> {
    let flags = ExposeFlags {
        service,
        to: to.to_owned(),
        join,
        carrier: Some("tls".to_owned()),
    };
    from_flags(&File::for_expose(flags), Path::new("/state"))
}

#[test]
fn a_serve_on_one_line_is_the_public_end_of_services() {
    let flags = ServeFlags {
        listen: owned(&["127.0.0.1:7000"]),
        http: owned(&["127.0.0.1:8081"]),
        https: Vec::new(),
        domain: Some("t.localhost".to_owned()),
        advertise: None,
        ..ServeFlags::default()
    };
    let plan = from_flags(&File::for_serve(flags.clone()), Path::new("/state")).unwrap();
    let Role::Link(link) = &plan.listeners[0].frontend.role else {
        panic!("links")
    };
    assert_eq!(link.advertise.to_string(), "t.localhost:7000");
    assert!(matches!(&plan.listeners[1].frontend.role, Role::Edge(edge) if edge.domain.is_some()));
    for (wrong, message) in [
        (
            ServeFlags {
                http: Vec::new(),
                ..flags.clone()
            },
            "`--domain` needs `--http`, where visitors",
        ),
        (
            ServeFlags {
                domain: None,
                ..flags.clone()
            },
            "`--http` needs `--domain`, under which",
        ),
        (
            ServeFlags {
                advertise: Some("x:0".to_owned()),
                ..flags.clone()
            },
            "`--advertise`: `x:0` is nothing to join at",
        ),
        (
            ServeFlags {
                http: owned(&["80"]),
                ..flags
            },
            "`--http`: `80` is a port alone",
        ),
    ] {
        let shown = from_flags(&File::for_serve(wrong), Path::new("/state"))
            .unwrap_err()
            .to_string();
        assert!(shown.contains(message), "{shown}");
    }
}

#[test]
fn the_error_of_an_address_that_cannot_be_advertised_names_the_flag_that_fixes_it() {
    let listen = owned(&["0.0.0.0:7443"]);
    let serve = File::for_serve(ServeFlags {
        listen: listen.clone(),
        ..ServeFlags::default()
    });
    let exit = File::for_exit(ExitFlags {
        listen,
        ..ExitFlags::default()
    });
    for file in [serve, exit] {
        let shown = from_flags(&file, Path::new("/state"))
            .unwrap_err()
            .to_string();
        let expected = "\
error: `0.0.0.0:7443` is every address of this machine: which one do others join?
 |
 = in --listen 0.0.0.0:7443
 = help: add --advertise HOST:PORT, as others reach this machine

1 error on the command line";
        assert_eq!(shown, expected);
    }
}

#[test]
fn an_exit_on_one_line_allows_and_denies_like_a_proxy() {
    let flags = ExitFlags {
        listen: owned(&["127.0.0.1:7443"]),
        allow: owned(&["127.0.0.0/8"]),
        deny: owned(&["10.0.0.1"]),
        stream_limit: Some("1MB/s".to_owned()),
        advertise: Some("exit.example.com".to_owned()),
    };
    let plan = from_flags(&File::for_exit(flags), Path::new("/state")).unwrap();
    let Role::Link(link) = &plan.listeners[0].frontend.role else {
        panic!("links")
    };
    assert_eq!(link.advertise.to_string(), "exit.example.com:7443");
    let Serves::Exit(egress) = &link.serves else {
        panic!("an exit")
    };
    let shown: Vec<String> = egress.rules.iter().map(show_rule).collect();
    assert_eq!(
        shown,
        [
            "1 Deny [] [] [10.0.0.1/32] []",
            "2 Allow [] [] [127.0.0.0/8] []"
        ]
    );
    assert_eq!(egress.settings.stream_limit, Some(Rate(1_000_000)));
}

#[test]
fn a_port_alone_is_exposed_from_loopback() {
    let plan = expose(http("App"), "3000", join_flag()).unwrap();
    let link = &plan.joins[0];
    assert_eq!(
        (&*link.id, link.carrier),
        (
            "tls t.example.com:7000 grant 070707070707",
            CarrierChoice::Tls
        )
    );
    assert_eq!(
        (
            &*link.services[0].name,
            link.services[0].to.to_string().as_str()
        ),
        ("app", "127.0.0.1:3000")
    );
    let tcp = ExposedFlags::Tcp {
        name: None,
        port: Some(20_022),
    };
    let service = &expose(tcp, "22", join_flag()).unwrap().joins[0].services[0];
    assert_eq!(
        (&*service.name, service.port),
        ("127.0.0.1:22", Some(20_022))
    );
}

#[test]
fn wrong_flags_of_an_exposed_service_are_named_and_the_join_string_is_not_shown() {
    let tcp = || ExposedFlags::Tcp {
        name: None,
        port: None,
    };
    let text = super::links::join_at("t.example.com:7000", 7);
    let cut = JoinFlag::Text {
        from: "--join",
        text: Secret::new(&text[..80]),
    };
    for (result, message) in [
        (
            expose(tcp(), "host", join_flag()),
            "`TARGET`: `host` has no port",
        ),
        (expose(tcp(), "0", join_flag()), "`TARGET`: `0` is no port"),
        (
            expose(tcp(), "http://a:1", join_flag()),
            "`TARGET`: the target of a service is an address, so it takes no `http://`",
        ),
        (
            expose(http("a_b"), "1", join_flag()),
            "`--name`: `a_b` is not a label",
        ),
        (
            expose(tcp(), "1", cut),
            "`--join`: the join string was cut short",
        ),
        (expose(tcp(), &text, join_flag()), "`TARGET`: "),
        (
            expose(tcp(), "1", JoinFlag::File("/nowhere/join".to_owned())),
            "`--join-file`: cannot read /nowhere/join",
        ),
        (
            expose(tcp(), "1", JoinFlag::File(text.clone())),
            "`--join-file` holds a join string, not the name of a file",
        ),
    ] {
        let shown = result.unwrap_err().to_string();
        assert!(shown.contains(message), "{shown}");
        assert!(!shown.contains(&text[10..30]), "{shown}");
    }
}

#[test]
fn a_desk_on_one_line_goes_out_through_its_link() {
    let listen = owned(&["127.0.0.1:1081"]);
    let flags = ProxyFlags {
        listen,
        join: Some(join_flag()),
        carrier: Some("quic".to_owned()),
        ..ProxyFlags::default()
    };
    assert_eq!(
        egress(flags.clone()).unwrap().exit.as_deref(),
        Some("quic t.example.com:7000 grant 070707070707")
    );
    let open = ProxyFlags {
        listen: owned(&[":1081"]),
        ..flags
    };
    let shown = egress(open.clone()).unwrap_err().to_string();
    assert!(
        shown.contains("can be reached from other machines, and any client could use it"),
        "{shown}"
    );
    assert!(
        egress(ProxyFlags {
            open_to_the_world: true,
            ..open
        })
        .is_ok()
    );
}

#[test]
fn https_for_services_gets_a_wildcard_where_dns_can_be_set_and_otherwise_one_for_each_service() {
    let with = |domain: &str, authority: AuthorityFlags, certs: &[&str]| {
        File::for_serve(ServeFlags {
            listen: owned(&["127.0.0.1:7000"]),
            https: owned(&["127.0.0.1:443"]),
            domain: Some(domain.to_owned()),
            certificates: (owned(certs), Vec::new()),
            authority,
            ..ServeFlags::default()
        })
    };
    let resolved = |file: &File| from_flags(file, Path::new("/state")).unwrap().tls;
    let private = AuthorityFlags {
        directory: Some("https://127.0.0.1:14000/dir".to_owned()),
        ..AuthorityFlags::default()
    };
    let by_dns = AuthorityFlags {
        dns_command: Some("/bin/dns".to_owned()),
        ..private.clone()
    };
    let plan = resolved(&with("t.example.com.", by_dns, &[]));
    assert_eq!(plan.acme[0].names[0].to_string(), "*.t.example.com");
    assert_eq!(plan.acme[0].directory, "https://127.0.0.1:14000/dir");
    assert_eq!(plan.acme[0].on_demand, OnDemandNames::Off);
    let plan = resolved(&with("t.example.com", private.clone(), &[]));
    assert!(plan.acme[0].names.is_empty());
    assert_eq!(plan.acme[0].on_demand, OnDemandNames::Services);
    let plan = resolved(&with("t.localhost", AuthorityFlags::default(), &[]));
    assert!(plan.acme.is_empty());
    assert_eq!(plan.local_names, ["t.localhost"]);
    let plan = resolved(&with(
        "t.example.com",
        AuthorityFlags::default(),
        &["/a.pem"],
    ));
    assert!(plan.acme.is_empty() && plan.local_names.is_empty());
}
