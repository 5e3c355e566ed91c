//! Observing an agent: its stats while requests run, and the events of each connection.
//! `cargo run -p byway-agent --example live_stats`
#![allow(clippy::print_stdout)]

mod origin;

use byway_agent::{Agent, BoxError, Event};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    run().await
}

fn print_event(event: &Event<'_>) {
    match event {
        Event::Opened { group, took, .. } => println!("  + {group} opened in {took:.1?}"),
        Event::Reused { group, requests } => println!("  = {group} carries request {requests}"),
        Event::Closed {
            group,
            reason,
            requests,
            ..
        } => println!("  - {group} closed after {requests}: {reason:?}"),
        Event::QueueRejected { group, error } => println!("  ! {group}: {error}"),
        _ => {}
    }
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let (arrived, answers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (arrivals, gate) = (Arc::clone(&arrived), Arc::clone(&answers));
    let origin = origin::Origin::start(move |_| {
        let (arrivals, gate) = (Arc::clone(&arrivals), Arc::clone(&gate));
        async move {
            arrivals.add_permits(1);
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
            "done".to_owned()
        }
    })
    .await?;

    let agent = Agent::builder()
        .max_total(4)
        .max_per_origin(3)
        .on_event(print_event)
        .build()?;
    let mut requests = JoinSet::new();
    for _ in 0..5 {
        let (agent, url) = (agent.clone(), origin.url("/"));
        requests.spawn(async move { agent.get(url).await?.into_body().text().await });
    }
    arrived.acquire_many(3).await?.forget(); // until three requests have reached the origin
    println!("at work:   {}", agent.stats());
    answers.add_permits(5);
    while let Some(ended) = requests.join_next().await {
        ended??;
    }
    println!("afterwards: {}", agent.stats());
    println!("evicted: {}", agent.evict(|conn| conn.requests() > 1));
    println!(
        "still running after shutdown: {}",
        agent.shutdown(Duration::from_secs(5)).await
    );
    println!("in total: {:?}", agent.stats().counters());
    Ok(())
}
