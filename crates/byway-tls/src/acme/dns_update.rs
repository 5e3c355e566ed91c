//! DNS update: changes a TXT record by RFC 2136, signed by a shared key (TSIG, RFC 8945).
//!
//! In:    the server, the key, a record.
//! Out:   the record at the server, or why not.
//! Never: accepts an answer that is not signed by the key; uses UDP.

mod message;
mod tsig;

use std::io;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::dns::Change;
pub use tsig::{Algorithm, TsigKey};

/// How long a question to the server may take, connecting included.
const DEADLINE: Duration = Duration::from_secs(20);

/// A DNS server that takes updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsUpdate {
    /// `host:port` of the primary server.
    pub server: String,
    /// The zone of the record; the server is asked for it if there is none.
    pub zone: Option<String>,
    /// The key that signs.
    pub key: TsigKey,
}

/// Why a record could not be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Timeout,
    #[error("the answer is no DNS message")]
    Malformed,
    #[error("{0} is no DNS name")]
    Name(String),
    #[error("the server does not know a zone with this name: set the zone")]
    NoZone,
    #[error("the server refused with {}", message::code_name(*.0))]
    Refused(u16),
    #[error("the server refused the key: {}", message::code_name(*.0))]
    Key(u16),
    #[error("the answer is not signed by the key")]
    Unsigned,
}

impl DnsUpdate {
    pub(super) async fn change(
        &self,
        change: Change,
        record: &str,
        value: &str,
        now: SystemTime,
    ) -> Result<(), UpdateError> {
        let asked = async {
            let mut stream = TcpStream::connect(&self.server).await?;
            let zone = match &self.zone {
                Some(zone) => zone.clone(),
                None => {
                    let question = message::soa_question(fastrand::u16(..), record)?;
                    let answer = self.ask(&mut stream, &question, now).await?;
                    message::zone_of(&answer)?.ok_or(UpdateError::NoZone)?
                }
            };
            let update = message::update(fastrand::u16(..), &zone, change, record, value)?;
            let answer = self.ask(&mut stream, &update, now).await?;
            match message::code_of(&answer)? {
                0 => Ok(()),
                code => Err(UpdateError::Refused(code)),
            }
        };
        tokio::time::timeout(DEADLINE, asked)
            .await
            .unwrap_or(Err(UpdateError::Timeout))
    }

    /// Sends a signed message, and returns the answer to it if that is signed as well.
    async fn ask(
        &self,
        stream: &mut TcpStream,
        message: &[u8],
        now: SystemTime,
    ) -> Result<Vec<u8>, UpdateError> {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = seconds.unwrap_or_default().as_secs();
        let (signed, mac) = tsig::sign(message, &self.key, seconds)?;
        let length = u16::try_from(signed.len()).map_err(|_| UpdateError::Malformed)?;
        let framed = [&length.to_be_bytes()[..], &signed].concat();
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        if answer.get(..2) != message.get(..2) {
            return Err(UpdateError::Malformed);
        }
        tsig::verify(&answer, &self.key, &mac, seconds)
    }
}
