//! H2 programs: common clients of HTTP/2 in front of an edge: curl, nghttp, h2load, Node's http2.

use std::net::SocketAddr;
use std::process::Command;

use byway_testkit::pattern::{MIB, Pattern};
use byway_testkit::{Origin, curl};

use super::edge;
use super::programs::runs_ok;

#[test]
fn curl_moves_bodies_both_ways_with_the_right_sums() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let url = |path: &str| format!("http://{}{path}", program.address());
    let down = 64 * MIB;
    let fetched = curl(&["--http2-prior-knowledge", &url(&format!("/chunked/{down}"))]);
    assert_eq!(
        (fetched.exit, fetched.bytes, fetched.sha256),
        (0, down, Pattern::sha256(down))
    );
    let up = 16 * MIB;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), Pattern::whole(up)).unwrap();
    let upload = file.path().display().to_string();
    let fetched = curl(&[
        "--http2-prior-knowledge",
        "-X",
        "POST",
        "-T",
        &upload,
        &url("/sum"),
    ]);
    assert_eq!(fetched.text(), format!("{up} {}", Pattern::sha256(up)));
}

/// The output of a program that ended in order.
#[track_caller]
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program} is needed for this test (apt-get install nghttp2-client): {error}")
    });
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

#[test]
fn nghttp_reads_a_page_with_trailers_in_its_request() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "body").unwrap();
    let body = file.path().display().to_string();
    let args = [
        "--data",
        &body,
        "--trailer",
        "x-sum: 1",
        &url(program.address(), "/sum"),
    ];
    assert!(output("nghttp", &args).starts_with("4 "));
}

#[test]
fn h2load_gets_every_answer_on_many_streams() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let address = url(program.address(), "/bytes/1000");
    let said = output("h2load", &["-n", "2000", "-c", "4", "-m", "50", &address]);
    assert!(
        said.contains("2000 succeeded, 0 failed, 0 errored"),
        "{said}"
    );
    assert!(said.contains("2000 2xx"), "{said}");
}

#[test]
fn nodes_http2_session_gets_every_answer_and_its_uploads_arrive() {
    const SCRIPT: &str = r"
        const http2 = require('http2');
        const session = http2.connect('http://127.0.0.1:' + process.argv[1]);
        function ask(headers, body) {
          return new Promise((resolve, reject) => {
            const stream = session.request(headers, { endStream: !body });
            const pieces = [];
            let status;
            stream.on('response', response => { status = response[':status']; });
            stream.on('data', piece => pieces.push(piece));
            stream.on('end', () => resolve({ status, body: Buffer.concat(pieces) }));
            stream.on('error', reject);
            if (body) stream.end(body);
          });
        }
        (async () => {
          const answers = await Promise.all(Array.from({ length: 60 }, (_, n) =>
            ask({ ':path': '/bytes/' + n * 1000 })));
          answers.forEach((answer, n) => {
            if (answer.status !== 200 || answer.body.length !== n * 1000) throw new Error('answer ' + n);
          });
          const upload = await ask({ ':path': '/sum', ':method': 'POST' }, Buffer.alloc(500000));
          if (!upload.body.toString().startsWith('500000 ')) throw new Error(upload.body.toString());
          session.close(() => console.log('ok'));
        })();
    ";
    let origin = Origin::useful();
    let program = edge(&origin);
    runs_ok("node", "-e", SCRIPT, program.address());
}
