//! Limits and the queue: two connections, three places in the queue, and an error for the sixth
//! request.
//! `cargo run -p byway-agent --example limits_and_queue`
#![allow(clippy::print_stdout)]

mod origin;

use byway_agent::{Agent, BoxError, Error};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    run().await
}

pub(crate) async fn run() -> Result<(), BoxError> {
    // The origin responds only after a permit of the semaphore.
    let answers = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&answers);
    let origin = origin::Origin::start(move |request| {
        let gate = Arc::clone(&gate);
        async move {
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
            format!("answer to {}", request.path)
        }
    })
    .await?;

    let agent = Agent::builder()
        .max_per_origin(2)
        .max_total(64)
        .queue_len(3)
        .queue_wait(Duration::from_secs(5))
        .build()?;
    let mut requests = JoinSet::new();
    for n in 1..=6 {
        let (agent, url) = (agent.clone(), origin.url(&format!("/{n}")));
        requests.spawn(async move { agent.get(url).await?.into_body().text().await });
    }
    // The first to end is the one that found the queue full.
    match requests.join_next().await {
        Some(Ok(Err(error @ Error::QueueFull { .. }))) => {
            println!(
                "one of six: {error}; try again later: {}",
                error.is_retryable()
            )
        }
        other => return Err(format!("the queue should be full: {other:?}").into()),
    }
    println!("{}", agent.stats());
    answers.add_permits(5);
    while let Some(ended) = requests.join_next().await {
        println!("{}", ended??);
    }
    println!("{}", agent.stats());
    assert_eq!(
        agent.stats().counters().opened,
        2,
        "five requests were served over two connections"
    );
    Ok(())
}
