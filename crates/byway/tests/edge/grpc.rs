//! gRPC: Python's grpcio on both sides of an edge with an upstream of HTTP/2.
//!
//! grpcio is installed by `cargo xtask test tools`; without it the test is skipped with a message.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use byway_testkit::Program;

use super::{BYWAY, config};

/// Python with grpcio.
fn python() -> Option<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/python/bin/python");
    let has_grpc = Command::new(&root).args(["-c", "import grpc"]).output();
    let is_there = has_grpc.is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("skipped: grpcio is not installed; run `cargo xtask test tools`");
    }
    is_there.then_some(root)
}

/// A server of gRPC, whose messages are bytes. It ends with its standard input.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(python: &Path) -> Self {
        let mut child = Command::new(python)
            .args(["-u", "-c", include_str!("grpc_server.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn grpc_calls_of_every_kind_pass_with_deadlines_cancels_and_statuses() {
    let Some(python) = python() else {
        return;
    };
    let server = Server::start(&python);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let route = format!("to = \"127.0.0.1:{}\"\nh2 = true", server.port);
    let unreachable = format!(
        "hosts = [\"gone.test\"]\nto = \"{}\"\nh2 = true",
        gone.local_addr().unwrap()
    );
    drop(gone);
    let program = Program::configured(BYWAY, &config("", &[&unreachable, &route]));
    let output = Command::new(&python)
        .args(["-c", include_str!("grpc_client.py")])
        .arg(program.address().to_string())
        .output()
        .unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.ends_with("all calls\n"), "{said}{errors}");
}
