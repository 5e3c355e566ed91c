//! Programs: common software in front of and behind an edge: curl, nginx, Node's http, Python's
//! http.client.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use byway_testkit::pattern::{MIB, Pattern};
use byway_testkit::{Origin, Program, curl, eventually};
use socket2::{Domain, Socket, Type};

use super::config;
use super::{BYWAY, edge};

#[test]
fn curl_gets_256_mib_down_with_the_right_sum() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let bytes = 256 * MIB;
    let fetched = curl(&[&format!("http://{}/bytes/{bytes}", program.address())]);
    assert_eq!(
        (fetched.exit, fetched.bytes, fetched.sha256),
        (0, bytes, Pattern::sha256(bytes))
    );
}

#[test]
fn curl_sends_64_mib_up_with_a_length_and_in_chunks() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), Pattern::whole(64 * MIB)).unwrap();
    let expected = format!("{} {}", 64 * MIB, Pattern::sha256(64 * MIB));
    let (upload, url) = (
        file.path().display().to_string(),
        format!("http://{}/sum", program.address()),
    );
    for coding in ["X: no", "Transfer-Encoding: chunked"] {
        let fetched = curl(&["-X", "POST", "-T", &upload, "-H", coding, &url]);
        assert_eq!(
            (fetched.exit, fetched.text()),
            (0, expected.clone()),
            "{coding}: {fetched:?}"
        );
    }
}

/// nginx on a free port, stopped on drop.
struct Nginx {
    child: Child,
    address: SocketAddr,
    _port: Socket,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Bound but not listening: the kernel gives the port to no other program, and nginx may
        // still listen there.
        let port = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        port.set_reuse_address(true).unwrap();
        port.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let address = port.local_addr().unwrap().as_socket().unwrap();
        std::fs::write(folder.path().join("big"), Pattern::whole(3 * MIB)).unwrap();
        std::fs::write(
            folder.path().join("nginx.conf"),
            nginx_config(folder.path(), address),
        )
        .unwrap();
        let child = Command::new("nginx")
            .env(
                "PATH",
                "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
            )
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx is needed for this test (apt-get install nginx-light)");
        eventually("nginx listens", || {
            std::net::TcpStream::connect(address).is_ok()
        });
        Self {
            child,
            address,
            _port: port,
            _folder: folder,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let _ = self.child.wait();
    }
}

fn nginx_config(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = write!(temporary, "{kind}_temp_path {folder}/{kind}; ");
    }
    format!(
        "daemon off; master_process off; {user} pid {folder}/pid; events {{}} http {{ access_log off; {temporary}
         client_max_body_size 100m; gzip on; gzip_proxied any; gzip_types *; gzip_min_length 1;
         server {{ listen {address}; root {folder}; default_type application/octet-stream;
           location /connection {{ gzip off; return 200 $connection; }}
           location /host {{ gzip off; return 200 $http_host; }}
           location /nothing {{ return 204; }}
           location /moved {{ return 302 /big; }} }} }}"
    )
}

#[test]
fn nginx_as_origin_keeps_its_connection_and_sends_chunks() {
    let nginx = Nginx::start();
    // Each worker has its own connections.
    let to = format!("to = \"{}\"", nginx.address);
    let program = Program::configured(BYWAY, &config("workers = 1", &[&to]));
    let url = |path: &str| format!("http://{}{path}", program.address());
    let sum = Pattern::sha256(3 * MIB);

    let first = curl(&[&url("/connection")]).text();
    for _ in 0..3 {
        let plain = curl(&[&url("/big")]);
        assert_eq!((plain.status, &plain.sha256), (200, &sum));
        let gzipped = curl(&["--compressed", "-D", "-", "-o", "/dev/null", &url("/big")]);
        assert!(
            gzipped.text().contains("Transfer-Encoding: chunked"),
            "{}",
            gzipped.text()
        );
        assert_eq!(curl(&["--compressed", &url("/big")]).sha256, sum);
        assert_eq!(curl(&["-r", "10-19", &url("/big")]).status, 206);
        assert_eq!(curl(&["-I", &url("/big")]).status, 200);
        assert_eq!(curl(&[&url("/nothing")]).status, 204);
        assert_eq!(curl(&["-L", &url("/moved")]).sha256, sum);
        assert_eq!(curl(&[&url("/missing")]).status, 404);
    }
    assert_eq!(
        curl(&["-H", "Host: shop.example", &url("/host")]).text(),
        "shop.example"
    );
    assert_eq!(
        curl(&[&url("/connection")]).text(),
        first,
        "one connection for all of it"
    );
}

/// Runs a script in another language against the edge. It prints `ok` on success.
#[track_caller]
pub(super) fn runs_ok(program: &str, flag: &str, script: &str, edge: SocketAddr) {
    let output = Command::new(program)
        .arg(flag)
        .arg(script)
        .arg(edge.port().to_string())
        .output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(stdout.trim(), "ok", "{stderr}");
}

#[test]
fn nodes_http_agent_keeps_its_connection_and_gets_every_answer() {
    const SCRIPT: &str = r"
        const http = require('http');
        const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
        const sockets = new Set();
        function ask(method, path, body) {
          return new Promise((resolve, reject) => {
            const request = http.request({ port: process.argv[1], host: '127.0.0.1', agent, method, path }, response => {
              sockets.add(response.socket);
              const pieces = [];
              response.on('data', piece => pieces.push(piece));
              response.on('end', () => resolve({ status: response.statusCode, body: Buffer.concat(pieces) }));
              response.on('error', reject);
            });
            request.on('error', reject);
            for (const piece of body || []) request.write(piece);
            request.end();
          });
        }
        (async () => {
          for (let i = 0; i < 10; i++) {
            const big = await ask('GET', '/chunked/200000');
            if (big.body.length !== 200000) throw new Error('short: ' + big.body.length);
            const sum = await ask('POST', '/sum', ['some ', 'chunks ', 'x'.repeat(100000)]);
            if (!sum.body.toString().startsWith('100012 ')) throw new Error('sum: ' + sum.body);
            const head = await ask('HEAD', '/bytes/0');
            if (head.status !== 200) throw new Error('head: ' + head.status);
          }
          if (sockets.size !== 1) throw new Error(sockets.size + ' sockets');
          console.log('ok');
          agent.destroy();
        })().catch(error => { console.error(error); process.exit(1); });
    ";
    let origin = Origin::useful();
    let program = edge(&origin);
    runs_ok("node", "-e", SCRIPT, program.address());
    assert_eq!(origin.connections(), 1);
}

#[test]
fn nodes_http_server_and_client_upgrade_through_the_edge() {
    const SCRIPT: &str = r"
        const http = require('http');
        const request = http.request({ port: process.argv[1], host: '127.0.0.1', path: '/',
          headers: { Connection: 'Upgrade', Upgrade: 'websocket' } });
        request.on('response', response => { console.error('status', response.statusCode); process.exit(1); });
        request.on('upgrade', (response, socket, head) => {
          let came = head.toString();
          socket.on('data', data => {
            came += data;
            if (came === 'greeting then echo') { console.log('ok'); socket.end(); }
          });
          socket.write(' then echo');
        });
        request.end();
    ";
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\ngreeting");
        while visitor.fill() {
            let bytes = visitor.taken();
            visitor.send(bytes);
        }
    });
    let program = edge(&origin);
    runs_ok("node", "-e", SCRIPT, program.address());
}

#[test]
fn pythons_http_client_keeps_its_connection_and_gets_every_answer() {
    const SCRIPT: &str = r"
import http.client, sys
connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=30)
connection.connect()
port = connection.sock.getsockname()
for _ in range(10):
    connection.request('GET', '/chunked/200000')
    assert len(connection.getresponse().read()) == 200000
    connection.request('POST', '/sum', body=iter([b'some ', b'chunks']), encode_chunked=True)
    assert connection.getresponse().read().startswith(b'11 ')
    connection.request('PUT', '/sum', body=b'x' * 100000)
    assert connection.getresponse().read().startswith(b'100000 ')
    connection.request('HEAD', '/')
    assert connection.getresponse().read() == b''
    assert connection.sock.getsockname() == port
print('ok')
";
    let origin = Origin::useful();
    let program = edge(&origin);
    runs_ok("python3", "-c", SCRIPT, program.address());
    assert_eq!(origin.connections(), 1);
}
