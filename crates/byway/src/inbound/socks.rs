//! Socks: the SOCKS5 and SOCKS4(a) side of an egress.
//!
//! In:    a connection whose first byte is 5 or 4.
//! Out:   a relay to the target, once the far side has connected and the success reply is queued.
//! Never: serves BIND and UDP ASSOCIATE (replied with 07), or a target without the user that the
//!        listener requires.

use std::pin::pin;
use std::sync::Arc;

use byway_dial::socks::{
    Command, Greeting, Login, LoginStatus, Method, MethodChoice, Parsed, Reply, Reply4, ReplyCode,
    ReplyCode4, Request, Request4, SocksError,
};
use byway_dial::{Dialled, Pipe, Read, Target};
use byway_http::h1::Conn;
use tokio::time::timeout;

use super::context::{ConnectionContext, ConnectionInfo};
use super::credentials;
use super::tunnel;
use super::tunnel_log::TunnelLog;
use crate::config::{EgressPlan, FrontendPlan, Plan, Role};
use crate::exchange::client_gone::unless_gone;
use crate::fault::{Fault, Reason, Who};
use crate::outbound::{self, tunnel::Tunnel};
use crate::route::{Allowed, Ask, Inquiry, policy};

/// Serves one SOCKS connection.
pub async fn serve(
    downstream: Conn,
    info: ConnectionInfo,
    context: Arc<ConnectionContext>,
    plan: Arc<Plan>,
    frontend: Arc<FrontendPlan>,
) {
    let Role::Egress(egress) = &frontend.role else {
        return;
    };
    let mut session = SocksConnection {
        downstream,
        info: &info,
        context: &context,
        plan: &plan,
        frontend: &frontend,
        egress,
        refused: None,
    };
    // Boxed, so that the memory of the handshake is freed before the relay starts.
    match Box::pin(session.open()).await {
        Ok(tunnel) => {
            tunnel::relay_conn(session.downstream, tunnel, &info, &context, &frontend).await
        }
        Err(fault) => session.refuse_and_close(&fault).await,
    }
}

struct SocksConnection<'a> {
    downstream: Conn,
    info: &'a ConnectionInfo,
    context: &'a ConnectionContext,
    plan: &'a Arc<Plan>,
    frontend: &'a FrontendPlan,
    egress: &'a EgressPlan,
    /// The refused request, for the access log.
    refused: Option<SocksRequest>,
}

/// A request, with the protocol version it came in.
struct SocksRequest {
    dialect: Dialect,
    target: Target,
    user: Option<Arc<str>>,
}

#[derive(Clone, Copy)]
enum Dialect {
    V4,
    V5,
}

impl Dialect {
    /// Its name in the access log.
    const fn word(self) -> &'static str {
        match self {
            Self::V4 => "SOCKS4",
            Self::V5 => "SOCKS5",
        }
    }
}

impl SocksConnection<'_> {
    /// From the greeting to an open target, with the success reply queued.
    async fn open(&mut self) -> Result<Tunnel, Fault> {
        let limit = self.frontend.limits.handshake_timeout;
        let socks_request = timeout(limit, self.negotiate()).await.map_err(|_| {
            let detail =
                format!("the SOCKS handshake was not complete within handshake_timeout, {limit:?}");
            Fault::new(Who::Downstream, Reason::Handshake, detail)
        })??;
        let opened = {
            let dialling = pin!(dial(
                self.context,
                self.plan,
                self.frontend,
                self.info,
                &socks_request
            ));
            unless_gone(|cx| self.downstream.stream().poll_broken(cx), dialling).await
        };
        match opened {
            Ok((dialled, allowed)) => {
                granted(socks_request.dialect, &dialled, self.downstream.queue());
                Ok(
                    Tunnel::opened(dialled.stream, allowed, socks_request.dialect.word())
                        .used_by(socks_request.user),
                )
            }
            Err(fault) => {
                refused(socks_request.dialect, &fault, self.downstream.queue());
                self.refused = Some(socks_request);
                Err(fault)
            }
        }
    }

    async fn negotiate(&mut self) -> Result<SocksRequest, Fault> {
        match self.downstream.unread().first() {
            Some(4) => self.negotiate_v4().await,
            _ => self.negotiate_v5().await,
        }
    }

    async fn negotiate_v4(&mut self) -> Result<SocksRequest, Fault> {
        let request = match self.message(Request4::parse).await {
            Ok(request) => request,
            Err(fault) => return Err(self.refuse(Dialect::V4, fault)),
        };
        let fault = match request.command() {
            // A user id without a password is no authentication.
            _ if !self.egress.users.is_empty() => {
                let detail =
                    "SOCKS4 has no passwords and this egress requires one; use SOCKS5 or HTTP";
                Fault::new(Who::Downstream, Reason::Unauthorized, detail)
            }
            Command::Connect => {
                return Ok(SocksRequest {
                    dialect: Dialect::V4,
                    target: request.target().clone(),
                    user: None,
                });
            }
            _ => unsupported(),
        };
        Err(self.refuse(Dialect::V4, fault))
    }

    async fn negotiate_v5(&mut self) -> Result<SocksRequest, Fault> {
        let greeting = self.message(Greeting::parse).await?;
        let user = match self.egress.users.is_empty() {
            true => self.choose(&greeting, Method::Open).await.map(|()| None)?,
            false => {
                self.choose(&greeting, Method::Password).await?;
                Some(self.log_in().await?)
            }
        };
        let request = match self.message(Request::parse).await {
            Ok(request) => request,
            Err(fault) => return Err(self.refuse(Dialect::V5, fault)),
        };
        match request.command() {
            Command::Connect => Ok(SocksRequest {
                dialect: Dialect::V5,
                target: request.target().clone(),
                user,
            }),
            _ => Err(self.refuse(Dialect::V5, unsupported())),
        }
    }

    /// Replies to the greeting with the one method that this egress accepts.
    async fn choose(&mut self, greeting: &Greeting, method: Method) -> Result<(), Fault> {
        if !greeting.offers(method) {
            MethodChoice::NoneAcceptable.encode(self.downstream.queue());
            let detail = match method {
                Method::Password => {
                    "this egress requires a user and a password, and the SOCKS client offered neither"
                }
                Method::Open => "the SOCKS client requires a login, and this egress has no users",
            };
            return Err(Fault::new(Who::Downstream, Reason::Unauthorized, detail));
        }
        MethodChoice::Use(method).encode(self.downstream.queue());
        self.flush().await
    }

    async fn log_in(&mut self) -> Result<Arc<str>, Fault> {
        let login = self.message(Login::parse).await?;
        let checked = credentials::check_password(
            self.egress,
            login.user(),
            login.password(),
            self.context.counters(),
        );
        let status = if checked.is_ok() {
            LoginStatus::Accepted
        } else {
            LoginStatus::Refused
        };
        status.encode(self.downstream.queue());
        if checked.is_ok() {
            self.flush().await?;
        }
        checked
    }

    /// Reads one message, however it is split. Bytes after it stay unread. Every message is bounded
    /// by its format.
    async fn message<T>(&mut self, parse: impl Fn(&[u8]) -> Parsed<T>) -> Result<T, Fault> {
        loop {
            if let Some((message, n)) =
                parse(self.downstream.unread()).map_err(|error| self.note_malformed(&error))?
            {
                self.downstream.consume(n);
                return Ok(message);
            }
            match self.downstream.fill().await {
                Ok(Read::Data(_)) => {}
                _ => return Err(client_closed()),
            }
        }
    }

    fn note_malformed(&self, error: &SocksError) -> Fault {
        self.context.counters().malformed_handshakes.add(1);
        let reason = match error {
            SocksError::Command(_) => Reason::SocksCommand,
            SocksError::AddressType(_) => Reason::SocksAddressType,
            _ => Reason::Socks,
        };
        Fault::new(Who::Downstream, reason, error.to_string())
    }

    fn refuse(&mut self, dialect: Dialect, fault: Fault) -> Fault {
        refused(dialect, &fault, self.downstream.queue());
        fault
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        self.downstream.flush().await.map_err(|_| client_closed())
    }

    /// Sends the queued refusal, closes and logs.
    async fn refuse_and_close(self, fault: &Fault) {
        let counters = self.context.counters();
        if let Some(line) = counters.log_limits.fault(fault) {
            tracing::info!(
                peer = self.info.peer.map(display), listener = %self.context.address, who = fault.who.word(), class = fault.reason.word(),
                left_out = line.left_out, "SOCKS: {fault}"
            );
        }
        let (socks_request, user) = (
            self.refused.as_ref(),
            self.refused
                .as_ref()
                .and_then(|socks_request| socks_request.user.as_deref()),
        );
        let protocol = socks_request.map_or("SOCKS", |socks_request| socks_request.dialect.word());
        let tunnel_log = TunnelLog::new(self.context, self.info, self.frontend, user, protocol);
        tunnel_log.refused(
            socks_request.map(|socks_request| &socks_request.target),
            fault,
        );
        self.downstream.lingering_close().await;
    }
}

/// Applies the policy, then dials.
async fn dial(
    context: &ConnectionContext,
    plan: &Arc<Plan>,
    frontend: &FrontendPlan,
    info: &ConnectionInfo,
    socks_request: &SocksRequest,
) -> Result<(Dialled, Allowed), Fault> {
    let engine = context.engine();
    let own = engine.live.own_addresses();
    let user = socks_request.user.as_ref();
    let inquiry = Inquiry {
        plan,
        role: &frontend.role,
        peer: info.peer,
        user,
        client: info.tls_client(),
        own: &own,
        ask: Ask::Target(&socks_request.target),
    };
    let allowed = policy::decide(&inquiry).inspect_err(|_| {
        context.counters().denied.add(1);
    })?;
    let dialled = outbound::open(engine, &allowed).await?;
    Ok((dialled, allowed))
}

fn client_closed() -> Fault {
    Fault::new(
        Who::Downstream,
        Reason::ClosedEarly,
        "the client closed within its SOCKS handshake",
    )
}

fn unsupported() -> Fault {
    let detail = "only CONNECT is served; BIND and UDP ASSOCIATE are not";
    Fault::new(Who::Downstream, Reason::SocksCommand, detail)
}

/// Success, with the local address of the far connection (RFC 1928: BND.ADDR).
fn granted(dialect: Dialect, dialled: &Dialled, out: &mut Vec<u8>) {
    match (dialect, dialled.local) {
        (Dialect::V5, Some(bound)) => Reply {
            code: ReplyCode::Succeeded,
            bound,
        }
        .encode(out),
        (Dialect::V5, None) => Reply::new(ReplyCode::Succeeded).encode(out),
        (Dialect::V4, Some(bound)) => Reply4::granted(bound).encode(out),
        (Dialect::V4, None) => Reply4::new(ReplyCode4::Granted).encode(out),
    }
}

fn refused(dialect: Dialect, fault: &Fault, out: &mut Vec<u8>) {
    match dialect {
        Dialect::V5 => Reply::new(fault.answer().socks5).encode(out),
        Dialect::V4 => Reply4::new(ReplyCode4::Rejected).encode(out),
    }
}
