//! Message: reads HTTP bodies, for the origin and the visitors.
//!
//! In:    a connection, and how the message is framed.
//! Out:   its body, piece by piece.
//! Never: holds a body.

use anyhow::bail;
use byway_dial::Read;
use byway_h1::{BodyDecoder, Step};
use byway_head::{Framed, Limits};
use byway_http::h1::Conn;

/// Passes every piece of the body to `each`; stops at the end of the message.
pub(super) async fn read_body(
    conn: &mut Conn,
    framed: Framed,
    mut each: impl FnMut(&[u8]),
) -> anyhow::Result<()> {
    let mut decoder = BodyDecoder::new(framed, &Limits::default());
    loop {
        match decoder.step(conn.unread())? {
            Step::Data(n) => {
                each(conn.unread().get(..n).unwrap_or_default());
                decoder.taken(n);
                conn.consume(n);
            }
            Step::Skip(n) => conn.consume(n),
            Step::End(n) => {
                conn.consume(n);
                return Ok(());
            }
            Step::More => match conn.fill().await? {
                Read::Data(_) => {}
                Read::Fin => return Ok(decoder.eof()?),
            },
        }
    }
}

/// Reads until the peer's FIN, at most `most` bytes.
pub(super) async fn read_to_fin(conn: &mut Conn, most: usize) -> anyhow::Result<usize> {
    let mut read = 0;
    loop {
        let held = conn.unread().len();
        read += held;
        conn.consume(held);
        if read > most {
            bail!("more than {most} bytes came where the end of the connection was expected");
        }
        if conn.fill().await? == Read::Fin {
            return Ok(read);
        }
    }
}
