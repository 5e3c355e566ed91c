//! State: the state folder of a public end: damaged, of another version, or used by two processes
//! at once.

use std::fs;

use byway_testkit::{Launch, Origin, Program, Visitor};
use tempfile::TempDir;

use super::*;

/// A state folder in which a server has assigned the name `keepme` to its first grant, and the
/// first join string.
fn kept(origin: &Origin) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(ANY, ANY, &["--state", &shown(folder.path())]);
    let agent = Agent::http(&server, "keepme", origin.address(), &[]);
    drop(agent);
    let join = server.join.clone();
    assert_eq!(server.program.stop().code, Some(0));
    (folder, join)
}

#[test]
fn one_bad_byte_in_the_file_of_names_frees_no_other_name() {
    let origin = Origin::named("kept");
    let (folder, first) = kept(&origin);
    let file = folder.path().join("names");
    let mut names = fs::read(&file).unwrap();
    names.extend(b"http bad\xff x\n");
    fs::write(&file, &names).unwrap();
    let state = shown(folder.path());
    let server = Server::with(ANY, ANY, &["--state", &state]);
    server.program.wait_for_log("1 lines of");
    let link = server.link().to_string();
    let added = Launch::new(
        BYWAY,
        &["token", "add", "--state", &state, "--advertise", &link],
    )
    .run();
    let other = added.stdout.trim().trim_start_matches("join ").to_owned();
    let refused = Launch::new(BYWAY, &["http", "80", "--name", "keepme", "--join", &other]).run();
    assert!(
        refused.stderr.contains("held by another grant"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        server.join[..80],
        first[..80],
        "the grant is the same; the address may have another port"
    );
    let _agent = Agent::http(&server, "another", origin.address(), &[]);
    let saved = fs::read(&file).unwrap();
    assert!(
        saved.windows(4).any(|bytes| bytes == b"bad\xff"),
        "the line that cannot be read is kept"
    );
}

#[test]
fn names_that_cannot_be_read_or_are_of_a_newer_format_stop_the_start() {
    let origin = Origin::named("kept");
    let (folder, _) = kept(&origin);
    let file = folder.path().join("names");
    let names = fs::read(&file).unwrap();
    let state = shown(folder.path());
    let start = || Launch::new(BYWAY, &["serve", "--listen", ANY, "--state", &state]).run();
    fs::write(&file, [b"# format 7\n", &names[..]].concat()).unwrap();
    let refused = start();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("format 7") && refused.stderr.contains("names"),
        "{}",
        refused.stderr
    );
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let refused = start();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("error: cannot read") && refused.stderr.contains("names"),
        "{}",
        refused.stderr
    );
    fs::remove_dir(&file).unwrap();
    fs::write(&file, vec![b'#'; 17 * 1024 * 1024]).unwrap();
    let refused = start();
    assert!(
        refused.code == Some(1) && refused.stderr.contains("longer than"),
        "{}",
        refused.stderr
    );
    fs::remove_file(&file).unwrap();
    let server = Server::with(ANY, ANY, &["--state", &state]);
    assert_eq!(server.program.stop().code, Some(0));
}

#[test]
fn a_public_end_and_an_exit_share_a_state_folder_and_keep_a_join_string_each() {
    let folder = tempfile::tempdir().unwrap();
    let state = shown(folder.path());
    let server = Server::with(ANY, ANY, &["--state", &state]);
    let exit = Program::start(
        BYWAY,
        &["proxy", "serve", "--listen", ANY, "--state", &state],
    );
    let to_exit = join_string(&exit);
    let read = |name: &str| {
        fs::read_to_string(folder.path().join(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(
        (read("join-serve"), read("join-exit")),
        (server.join.clone(), to_exit.clone())
    );
    // Nodes that join use the same folder.
    let origin = Origin::named("shared");
    let agent = Agent::tcp(&server, origin.address(), &["--state", &state]);
    assert_eq!(greeting(agent.address()), "shared");
    let desk = Program::start(
        BYWAY,
        &[
            "proxy", "join", &to_exit, "--listen", ANY, "--state", &state,
        ],
    );
    exit.wait_for_log("link is up");
    let listed = Launch::new(BYWAY, &["token", "list", "--state", &state]).run();
    assert_eq!(
        listed
            .stdout
            .lines()
            .filter(|line| line.ends_with("good"))
            .count(),
        2,
        "{}",
        listed.stdout
    );
    assert_eq!(desk.stop().code, Some(0));
}

#[test]
fn a_second_public_end_in_one_state_folder_is_refused_with_the_process_that_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = shown(folder.path());
    let server = Server::with(ANY, ANY, &["--state", &state]);
    let exit = Program::start(
        BYWAY,
        &["proxy", "serve", "--listen", ANY, "--state", &state],
    );
    for (args, holder, command) in [
        (
            &["serve", "--listen", ANY, "--state", &state][..],
            &server.program,
            "byway serve",
        ),
        (
            &["proxy", "serve", "--listen", ANY, "--state", &state],
            &exit,
            "byway proxy serve",
        ),
    ] {
        let refused = Launch::new(BYWAY, args).run();
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        let expected = format!(
            "in use by process {} ({command})",
            holder.pid().as_raw_nonzero()
        );
        assert!(
            refused.stderr.contains(&expected) && refused.stderr.contains("--state"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("join-serve"))
            .unwrap()
            .trim(),
        server.join
    );
    // After any exit of the process the next one may start.
    server.program.signal(rustix::process::Signal::KILL);
    server.program.wait();
    let server = Server::with(ANY, ANY, &["--state", &state]);
    let origin = Origin::named("next");
    assert_eq!(
        greeting(Agent::tcp(&server, origin.address(), &[]).address()),
        "next"
    );
}

#[test]
fn a_server_that_drains_leaves_its_state_folder_to_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let state = shown(folder.path());
    let origin = Origin::echo();
    let server = Server::with(ANY, ANY, &["--state", &state, "--log-level", "debug"]);
    let agent = Agent::http(&server, "app", origin.address(), &["--carrier", "tls"]);
    let tcp = Agent::tcp(&server, origin.address(), &["--carrier", "tls"]);
    let mut open = Visitor::connect(tcp.address());
    open.send("open");
    assert_eq!(open.exactly(4), b"open");
    // An open stream keeps the old process running for a while. What it writes later must not undo
    // what the new one has written.
    server.program.signal(rustix::process::Signal::TERM);
    server.program.wait_for_log("is left to the next process");
    let next = Server::with(ANY, ANY, &["--state", &state]);
    let _fresh = Agent::http(&next, "fresh", origin.address(), &[]);
    drop((open, agent, tcp));
    server.program.wait();
    let names = fs::read_to_string(folder.path().join("names")).unwrap();
    assert!(
        names.contains("fresh.t.localhost") && names.contains("app.t.localhost"),
        "{names}"
    );
}
