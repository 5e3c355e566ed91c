//! The parameters of the client programs, and their request loop.
//!
//! In:    `PROGRAM TARGETS IN_FLIGHT MAX_TOTAL`: a file with one URL per line, how many requests in
//!        flight, and how many connections to all targets together (0: the program has no such
//!        limit, or is not to use it).
//! Out:   requests without end, to each target in turn; the first failure ends the program.
//! Never: accepts a response that is not a 200 of the expected length.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The body length of the lab's origin.
pub const BODY_BYTES: usize = 1024;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Absolute URLs.
    pub targets: Vec<String>,
    /// Requests in flight.
    pub in_flight: usize,
    /// Connections to all targets together; `None`: no limit.
    pub max_total: Option<usize>,
}

impl Parameters {
    fn read() -> Result<Self, String> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [file, in_flight, max_total] = arguments.as_slice() else {
            return Err("usage: PROGRAM TARGETS IN_FLIGHT MAX_TOTAL".into());
        };
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let number = |text: &str| {
            text.parse::<usize>()
                .map_err(|error| format!("{text:?}: {error}"))
        };
        let max_total = Some(number(max_total)?).filter(|most| *most > 0);
        let targets: Vec<String> = text.lines().map(str::to_owned).collect();
        if targets.is_empty() {
            return Err(format!("{file} names no target"));
        }
        Ok(Self {
            targets,
            in_flight: number(in_flight)?,
            max_total,
        })
    }
}

/// Runs a client on one thread until a request fails. `open` creates it once, `ask` sends one
/// request and returns the length of the response body.
pub fn run<C, F>(
    open: impl FnOnce(&Parameters) -> Result<C, String>,
    ask: fn(Arc<C>, Arc<str>) -> F,
) -> ExitCode
where
    C: Send + Sync + 'static,
    F: Future<Output = Result<usize, String>> + Send + 'static,
{
    let ran = Parameters::read().and_then(|parameters| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let client = Arc::new(open(&parameters)?);
            keep_asking(&parameters, client, ask).await
        })
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn keep_asking<C, F>(
    parameters: &Parameters,
    client: Arc<C>,
    ask: fn(Arc<C>, Arc<str>) -> F,
) -> Result<(), String>
where
    C: Send + Sync + 'static,
    F: Future<Output = Result<usize, String>> + Send + 'static,
{
    let targets: Arc<[Arc<str>]> = parameters
        .targets
        .iter()
        .map(|target| Arc::from(target.as_str()))
        .collect();
    let turn = Arc::new(AtomicUsize::new(0));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..parameters.in_flight {
        let (client, targets, turn) =
            (Arc::clone(&client), Arc::clone(&targets), Arc::clone(&turn));
        lanes.spawn(async move {
            loop {
                let place = turn.fetch_add(1, Relaxed) % targets.len();
                let length = ask(Arc::clone(&client), Arc::clone(&targets[place])).await?;
                if length != BODY_BYTES {
                    return Err::<(), _>(format!("an answer of {length} bytes"));
                }
            }
        });
    }
    match lanes.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(panicked)) => Err(panicked.to_string()),
        None => Err("no request was made".into()),
    }
}
