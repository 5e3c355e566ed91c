//! Reload: what a new config changes of links, and what it leaves alone.
//!
//! In:    SIGHUP to an agent.   Out: what its services and their visitors notice.

use byway_testkit::{Origin, Program, Visitor};

use super::{BYWAY, Server, links_of};

fn expose(name: &str, what: &str, to: &Origin, join: &str) -> String {
    format!("[[expose]]\nname = \"{name}\"\n{what} = \"{}\"\njoin = \"{join}\"\n", to.address())
}

#[test]
fn a_reload_leaves_open_connections_of_untouched_services_alone_and_gives_the_others_up() {
    let (echo, web, other) = (Origin::echo(), Origin::named("web"), Origin::named("other"));
    let server = Server::start();
    let raw = expose("raw", "tcp", &echo, &server.join);
    let old = format!("{raw}{}", expose("web", "http", &web, &server.join));
    let agent = Program::configured(BYWAY, &old);
    let public = agent.wait_for_log("`raw` is public at ");
    agent.wait_for_log("`web` is public at ");
    let mut visitor = Visitor::connect(public.rsplit(' ').next().unwrap().parse().unwrap());
    visitor.send("before");
    assert_eq!(visitor.exactly(6), b"before");
    assert_eq!(server.ask("web", "GET /").text(), "web");

    agent.reload(&format!("{raw}{}", expose("other", "http", &other, &server.join)));
    agent.wait_for_log("`other` is public at ");
    assert_eq!(server.ask("other", "GET /").text(), "other");
    let gone = server.ask("web", "GET /");
    assert_eq!(gone.status(), 404, "{gone:?}");
    visitor.send("behind");
    assert_eq!(visitor.exactly(6), b"behind");
    assert_eq!(links_of(&server, ["`raw`", "`web`", "`other`"]), 1, "{}", server.program.stderr());

    // A config without any of them is another matter: the link goes, and what was open with it.
    agent.reload("[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.1:1\"\n");
    server.program.wait_for_log("link is down");
}
