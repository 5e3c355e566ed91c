//! Message: reads HTTP bodies, for the origin and the visitors.
//!
//! In:    a connection, and how the message is framed.
//! Out:   its body, piece by piece.
//! Never: holds a body.

use std::future::poll_fn;

use anyhow::bail;
use byway_dial::Read;
use byway_head::{Framed, Limits};
use byway_http::h1::{Conn, H1Reading, H1Source};
use byway_http::{Part, Source};

/// Passes every piece of the body to `each`; stops at the end of the message.
pub(super) async fn read_body(
    conn: &mut Conn,
    framed: Framed,
    mut each: impl FnMut(&[u8]),
) -> anyhow::Result<()> {
    let mut reading = H1Reading::new(framed, &Limits::default());
    let mut source = H1Source {
        conn,
        reading: &mut reading,
    };
    loop {
        match source.part()? {
            Part::Data(n) => {
                each(source.data().get(..n).unwrap_or_default());
                source.taken(n);
            }
            Part::More => poll_fn(|cx| source.poll_more(cx)).await?,
            Part::End => {
                source.finish();
                return Ok(());
            }
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
