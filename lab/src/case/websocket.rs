//! Websocket: a thousand WebSockets through each reverse proxy, every message echoed by the origin.
//!
//! Out:   messages per CPU-second of each.
//! Never: counts the upgrade.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use tokio::time::sleep;

use super::phases;
use super::proxy_rows::{OURS, ProxyRow};
use super::roles::{Roles, Subject};
use super::rounds::{Sample, interleave, watch};
use super::tables::{self, Unit};
use crate::environment::RunEnvironment;
use crate::load::reach::Reach;
use crate::load::websocket::{MESSAGE_BYTES, Websockets};
use crate::peers::Logs;
use crate::peers::front::Edge;
use crate::report::{Section, grouped};

const COUNT: usize = 1000;

/// Measures the reverse proxies.
pub(crate) async fn run(env: &RunEnvironment) -> Result<Section> {
    let asks = format!(
        "How many messages of {MESSAGE_BYTES} bytes does one CPU-second of the reverse proxy carry in both directions, on {} \
         WebSockets at once?",
        grouped(COUNT as f64)
    );
    let mut roles = Roles::begin(env, Logs::On, |byway| {
        vec![(OURS, Reach::Plain(byway.edge))]
    })
    .await?;
    roles.bound(env);
    let edge = Edge::plain(env.origin(), Logs::On);
    for proxy in ProxyRow::EACH {
        proxy.enter(&mut roles, env, &edge).await;
    }
    let mut rows = interleave(env, &roles.subjects, async |subject| {
        turn(env, subject).await
    })
    .await;
    phases::memory_now(&mut rows);
    let mut section = Section::new("Edge, WebSockets", &asks);
    tables::fill(&mut section, Unit::Messages, env, &rows, &roles, None);
    roles.end().await?;
    Ok(section)
}

async fn turn(env: &RunEnvironment, subject: &Subject) -> Result<Sample> {
    let load = Websockets {
        origin: env.origin(),
        count: COUNT,
        window: env.window,
    };
    let measured = async |echoed: &AtomicU64| {
        let work = async || {
            let before = echoed.load(Relaxed);
            sleep(load.window).await;
            Ok((echoed.load(Relaxed) - before) as f64)
        };
        watch(env, subject, work).await
    };
    load.run(subject.reach, measured).await
}
