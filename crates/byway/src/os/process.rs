//! Process: what the system reports about this process.
//!
//! In:    `/proc/self`, on Linux.
//! Out:   its start time, its memory, its open files, its processor time; nothing where the system
//!        reports nothing.
//! Never: walks over open files where their number can be read at once (Linux 6.2).

use std::time::Duration;

/// The resource usage at one moment. Unknown values are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// The start time, since the beginning of 1970.
    pub begun: Option<Duration>,
    /// User and system together.
    pub cpu: Option<Duration>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Open files, sockets included.
    pub open_files: Option<u64>,
    /// The limit of open files.
    pub most_files: Option<u64>,
}

/// The current usage.
#[cfg(target_os = "linux")]
pub fn usage() -> Usage {
    use rustix::process::{Resource, getrlimit};
    let ticks = |ticks: u64| {
        Duration::from_secs(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)) / 1000
    };
    let stat = read("/proc/self/stat");
    let stat = stat.as_deref().and_then(stat_fields);
    let pages =
        read("/proc/self/statm").and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    Usage {
        begun: stat.and_then(|stat| Some(boot_time()? + ticks(stat.begun))),
        cpu: stat.map(|stat| ticks(stat.cpu)),
        resident_bytes: pages.map(|pages| pages * rustix::param::page_size() as u64),
        open_files: open_files(),
        most_files: getrlimit(Resource::Nofile).current,
    }
}

/// The current usage: unknown on this platform.
#[cfg(not(target_os = "linux"))]
pub fn usage() -> Usage {
    Usage::default()
}

#[cfg(target_os = "linux")]
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Ticks of `/proc/self/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy)]
#[cfg(target_os = "linux")]
struct Stat {
    cpu: u64,
    begun: u64,
}

/// The program name is in parentheses and may contain anything: fields are counted from after it.
#[cfg(target_os = "linux")]
fn stat_fields(text: &str) -> Option<Stat> {
    let behind = text.rsplit_once(") ")?.1;
    let field = |number: usize| behind.split(' ').nth(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu: field(14)? + field(15)?,
        begun: field(22)?,
    })
}

/// The boot time of the machine, since 1970.
#[cfg(target_os = "linux")]
fn boot_time() -> Option<Duration> {
    let stat = read("/proc/stat")?;
    let seconds = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(target_os = "linux")]
fn open_files() -> Option<u64> {
    let size = std::fs::metadata("/proc/self/fd").ok()?.len();
    // The folder that is read is itself one of them while it is open.
    if size > 0 {
        Some(size)
    } else {
        Some((std::fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_usage_of_this_process_is_known() {
        let usage = usage();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let begun = usage.begun.unwrap();
        assert!(
            begun <= now + Duration::from_secs(2)
                && now.saturating_sub(begun) < Duration::from_secs(7 * 86_400)
        );
        assert!(usage.resident_bytes.unwrap() > 1 << 20);
        let before = usage.open_files.unwrap();
        let _held: Vec<_> = (0..50)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        // Other tests of this process open and close files at the same time.
        assert!(super::usage().open_files.unwrap() + 40 > before + 50);
        assert!(usage.most_files.unwrap() > before);
    }

    #[test]
    fn the_program_name_may_contain_anything() {
        let line = "7 (a) b (c) R 1 1 1 0 -1 0 0 0 0 0 30 12 0 0 20 0 1 0 4711 0 0";
        let stat = stat_fields(line).unwrap();
        assert_eq!((stat.cpu, stat.begun), (42, 4711));
    }
}
