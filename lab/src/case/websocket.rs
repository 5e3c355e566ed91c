//! Websocket: a thousand WebSockets through each reverse proxy, every message echoed by the origin.
//!
//! In:    the setting.
//! Out:   messages per CPU-second of each.
//! Never: counts the switch of protocols.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use tokio::time::sleep;

use super::cast::{Cast, Subject};
use super::figures::{self, Unit};
use super::front::{Front, OURS};
use super::phases;
use super::rounds::{Sample, interleave, watch};
use crate::load::reach::Reach;
use crate::load::websocket::{MESSAGE_BYTES, Websockets};
use crate::peers::Logs;
use crate::report::{Section, grouped};
use crate::setting::Setting;

const COUNT: usize = 1000;

/// Asks it.
pub(crate) async fn run(setting: &Setting) -> Result<Section> {
    let asks = format!(
        "How many messages of {MESSAGE_BYTES} bytes does one CPU-second of the reverse proxy carry there and back, on {} \
         WebSockets at once?",
        grouped(COUNT as f64)
    );
    let mut cast = Cast::begin(setting, Logs::On, |byway| {
        vec![(OURS, Reach::Plain(byway.edge))]
    })
    .await?;
    cast.bound(setting);
    for front in Front::EACH {
        front.enter(&mut cast, setting, Logs::On).await;
    }
    let mut rows = interleave(setting, &cast.subjects, async |subject| {
        turn(setting, subject).await
    })
    .await;
    phases::memory_now(&mut rows);
    let mut section = Section::new("Edge, WebSockets", &asks);
    figures::fill(&mut section, Unit::Messages, setting, &rows, &cast, None);
    cast.end().await?;
    Ok(section)
}

async fn turn(setting: &Setting, subject: &Subject) -> Result<Sample> {
    let load = Websockets {
        origin: setting.origin(),
        count: COUNT,
        window: setting.window,
    };
    let measured = async |echoed: &AtomicU64| {
        let work = async || {
            let before = echoed.load(Relaxed);
            sleep(load.window).await;
            Ok((echoed.load(Relaxed) - before) as f64)
        };
        watch(setting, subject, work).await
    };
    load.run(subject.reach, measured).await
}
