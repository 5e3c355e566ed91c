//! Open: opens a connection for a request, and finds out which version of HTTP is spoken on it.
//!
//! In:    a checked request, and the permit for its connection.
//! Out:   the connection, or the first stream of one of HTTP/2, in the pool; an event.
//! Never: waits longer than `connect_timeout`.

use super::checked_request::CheckedRequest;
use super::connector::{self, Connected};
use super::error::{Error, Which};
use super::event::Event;
use super::group::Group;
use super::h2_session::{self, Established, H2Session};
use super::pooled_conn::PooledConn;
use super::target::Target;
use super::{Inner, Leased};
use byway_pool::OpenPermit;
use http::Version;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// A new connection.
enum Opened {
    Http1(Connected),
    Http2(Box<Established>),
}

impl Inner {
    /// Opens a connection, TLS and the settings of HTTP/2 included.
    pub(super) async fn open(
        self: &Arc<Self>,
        checked: &CheckedRequest,
        permit: OpenPermit<Group, PooledConn, H2Session>,
    ) -> Result<Leased, Error> {
        let target = checked.target(self.config.fixed.as_ref())?;
        let (begun, group) = (Instant::now(), &checked.group);
        let may_share = self.may_share(checked);
        let limit = self.config.connect_timeout;
        let opened = connector::open(
            &*self.connector,
            &target,
            || self.tls.client(&self.config.tls, may_share),
            limit,
        )
        .await
        .and_then(|connected| self.select(connected, may_share, &target));
        let opened = match opened {
            Ok((connected, Version::HTTP_2)) => {
                let establishing = h2_session::establish(connected, target.is_tls(), &self.config);
                match timeout_at(begun + limit, establishing).await {
                    Ok(Ok(established)) => Ok(Opened::Http2(Box::new(established))),
                    Ok(Err(source)) => Err(Error::Connect {
                        target: target.to_string().into(),
                        source,
                    }),
                    Err(_) => Err(Error::Timeout {
                        which: Which::Connect,
                        after: limit,
                    }),
                }
            }
            Ok((connected, _)) => Ok(Opened::Http1(connected)),
            Err(error) => Err(error),
        };
        let took = begun.elapsed();
        let notify = |peer, version| {
            self.observer.notify(&Event::Opened {
                group,
                peer,
                took,
                version,
            });
        };
        match opened {
            Ok(Opened::Http1(connected)) => {
                let conn = PooledConn::new(connected, group.clone(), self.observer.clone());
                notify(conn.peer, Version::HTTP_11);
                Ok(Leased::Conn(permit.install(conn)))
            }
            Ok(Opened::Http2(established)) => {
                notify(established.peer(), Version::HTTP_2);
                let runtime = tokio::runtime::Handle::current();
                let max_streams = self.config.http2.max_streams;
                Ok(self.stream(established.install(permit, max_streams, &runtime)))
            }
            Err(failed) => {
                let error = &failed;
                self.observer.notify(&Event::ConnectFailed { group, error });
                Err(failed)
            }
        }
    }

    /// The version of HTTP that is spoken on a new connection.
    fn select(
        &self,
        connected: Connected,
        may_share: bool,
        target: &Target,
    ) -> Result<(Connected, Version), Error> {
        let is_plain = !target.is_tls() && !connected.absolute_form;
        let is_known = is_plain && self.config.http2.prior_knowledge && may_share;
        match connected.is_http2() || is_known {
            false => Ok((connected, Version::HTTP_11)),
            true if may_share => Ok((connected, Version::HTTP_2)),
            true => Err(Error::Connect {
                target: target.to_string().into(),
                source: "it speaks HTTP/2, which is switched off or cannot carry this request: \
                         let the connector agree on HTTP/1.1"
                    .into(),
            }),
        }
    }
}
