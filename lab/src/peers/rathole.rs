//! Rathole: a server and a client with TLS between them, one connection per visitor.
//!
//! Out:   both ends, running.
//! Never: keeps its certificate longer than the run, or listens on anything but 127.0.0.1.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{BothEnds, Program, certificate, command, free_address, write};
use crate::environment::RunEnvironment;
use crate::process::Process;

/// The name in the certificate, and the password of its file, which the format requires.
const NAME: &str = "lab.localhost";
const PASSWORD: &str = "lab";

/// Starts both ends.
pub(crate) async fn expose(env: &RunEnvironment) -> Result<BothEnds> {
    let (link, entry) = (free_address()?, free_address()?);
    let dir = env.dir();
    certificate(dir)?;
    let start = |end: &str, config: &str| {
        let file = write(&dir.join(format!("rathole-{end}.toml")), config)?;
        let mut command = command(Program::Rathole)?;
        command
            .args([&format!("--{end}"), &file])
            .current_dir(dir)
            .env("RUST_LOG", "error");
        Process::spawn(command, &format!("rathole-{end}"), env.cores, dir)
    };
    let near = start("server", &server(link, entry))?;
    let far = start("client", &client(link, env.origin()))?;
    Ok(BothEnds { near, far, entry })
}

fn server(link: SocketAddr, entry: SocketAddr) -> String {
    format!(
        "[server]\nbind_addr = \"{link}\"\ndefault_token = \"lab\"\n\n\
         [server.transport]\ntype = \"tls\"\n\n\
         [server.transport.tls]\npkcs12 = \"rathole.pfx\"\npkcs12_password = \"{PASSWORD}\"\n\n\
         [server.services.bulk]\nbind_addr = \"{entry}\"\n"
    )
}

fn client(link: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "[client]\nremote_addr = \"{link}\"\ndefault_token = \"lab\"\nretry_interval = 1\n\n\
         [client.transport]\ntype = \"tls\"\n\n\
         [client.transport.tls]\ntrusted_root = \"rathole.crt\"\nhostname = \"{NAME}\"\n\n\
         [client.services.bulk]\nlocal_addr = \"{origin}\"\n"
    )
}

/// Creates `rathole.crt`, and `rathole.pfx` with its key.
fn certificate(dir: &Path) -> Result<()> {
    certificate::make(dir, "rathole", NAME)?;
    let password = format!("pass:{PASSWORD}");
    let files = [
        "-inkey",
        "rathole.key",
        "-in",
        "rathole.crt",
        "-out",
        "rathole.pfx",
    ];
    certificate::openssl(
        dir,
        &[
            &["pkcs12", "-export", "-passout", &password][..],
            &files[..],
        ]
        .concat(),
    )
}
