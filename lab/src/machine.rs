//! Machine: cores, clock, and the description of the machine that a result was measured on.
//!
//! In:    `/proc`, `/etc/os-release` and system calls.
//! Out:   pinned threads, busy times of cores, descriptions.
//! Never: changes anything but the lab's own affinity and limits.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which core is used for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The measured programs.
    pub(crate) subject: usize,
    /// Load generator and origin.
    pub(crate) load: usize,
}

impl Cores {
    /// The requested cores, or the first two that the lab may use. On a machine with one core both
    /// are the same.
    pub(crate) fn choose(subject: Option<usize>, load: Option<usize>) -> Result<Self> {
        let set = sched_getaffinity(None).context("finding the cores that may be used")?;
        let set = *ALL_CORES.get_or_init(|| set);
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect();
        let first = *usable.first().context("no core may be used")?;
        let second = usable.get(1).copied().unwrap_or(first);
        let cores = Self {
            subject: subject.unwrap_or(first),
            load: load.unwrap_or(second),
        };
        match [cores.subject, cores.load]
            .into_iter()
            .find(|core| !usable.contains(core))
        {
            Some(core) => bail!("core {core} may not be used here; these may: {usable:?}"),
            None => Ok(cores),
        }
    }

    /// Whether generator and subject compete for one core.
    pub(crate) const fn shared(&self) -> bool {
        self.subject == self.load
    }
}

/// Binds the calling thread, and what it spawns afterwards, to one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("pinning a thread to core {core}"))
}

/// Lets the calling thread, and what it starts afterwards, run on every core that the lab was
/// started with.
pub(crate) fn unpin() -> Result<()> {
    ALL_CORES
        .get()
        .map_or(Ok(()), |all| sched_setaffinity(None, all))
        .context("letting a thread use every core")
}

/// Runs `work`, for example a build, on every core that the lab was started with.
pub(crate) fn unpinned<T>(work: impl FnOnce() -> T) -> T {
    let before = sched_getaffinity(None).ok();
    if let Some(all) = ALL_CORES.get() {
        // A thread that stays pinned works too, only slower.
        let _ = sched_setaffinity(None, all);
    }
    let result = work();
    if let Some(before) = before {
        let _ = sched_setaffinity(None, &before);
    }
    result
}

/// The cores that the lab was started with.
static ALL_CORES: OnceLock<CpuSet> = OnceLock::new();

/// Raises the descriptor limit so that the lab and its children can hold some ten thousand
/// connections. No higher: some programs size their tables by this limit.
pub(crate) fn raise_descriptors() -> Result<()> {
    const WANTED: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(WANTED, |most| most.min(WANTED));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        },
    )
    .context("raising the limit of open descriptors")
}

/// How many descriptors the lab and each of its children may open.
pub(crate) fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(65_536)
}

/// How long one core has been busy since boot, for all processes.
pub(crate) fn busy(core: usize) -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let name = format!("cpu{core} ");
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .context("the core is not in /proc/stat")?;
    // user nice system idle iowait irq softirq steal: all but idle and iowait. Steal is time used
    // by other virtual machines; it counts as busy.
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .take(8)
        .collect();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Ok(ticks(fields.iter().sum::<u64>() - idle))
}

/// Clock ticks of `/proc` as time.
pub(crate) fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Processor, memory and system, one fact per line.
pub(crate) fn facts() -> Vec<(&'static str, String)> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value_of(&cpus, "model name").unwrap_or("unknown");
    let count = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory =
        value_of(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("Linux");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        ("processor", format!("{count} cores, {model}")),
        (
            "memory",
            format!("{:.1} GiB", memory.unwrap_or_default() as f64 / 1_048_576.0),
        ),
        (
            "system",
            format!("{}, kernel {}", system.trim_matches('"'), kernel.trim()),
        ),
    ]
}

/// The machine's load averages (1, 5 and 15 minutes), which show how idle it is otherwise.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find(|line| line.starts_with(key))?
        .split_once(':')
        .map(|(_, value)| value.trim())
}

/// The first line that a program prints about its version, on either stream.
pub(crate) fn version_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

/// The current time in UTC: `2026-11-20 11:41`.
pub(crate) fn now_utc() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (year, month, day) = date_of(seconds / 86_400);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        seconds / 3600 % 24,
        seconds / 60 % 60
    )
}

/// The Gregorian date of a day counted from 1970-01-01: years are counted from March on, so that
/// the leap day is last.
fn date_of(day: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let since_march_0 = day + 719_468;
    let era = since_march_0 / DAYS_OF_400_YEARS;
    let in_era = since_march_0 % DAYS_OF_400_YEARS;
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / (DAYS_OF_400_YEARS - 1)) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_since_the_epoch_become_dates() {
        for (day, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_777, (2026, 11, 20)),
        ] {
            assert_eq!(date_of(day), date);
        }
    }
}
