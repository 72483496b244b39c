//! What the kernel says about this machine and about processes on it (`proc(5)`).

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

/// How busy the machine was with other things between two looks.
pub struct Noise {
    begin: Stat,
    load_at_begin: String,
}

#[derive(Clone, Copy)]
struct Stat {
    all: u64,
    steal: u64,
}

/// What stands in the head of every result.
pub fn describe() -> Value {
    let processor = line_of("/proc/cpuinfo", "model name").unwrap_or_default();
    let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    json!({
        "processor": processor,
        "cores": cores(),
        "memory": memory,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "build": if cfg!(debug_assertions) { "debug: the figures say nothing about a release" } else { "release" },
    })
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Noise {
    pub fn listen() -> Self {
        Self {
            begin: Stat::now(),
            load_at_begin: load_average(),
        }
    }

    /// Time that the hypervisor gave to others, and how many processes wanted to run.
    pub fn heard(&self) -> Value {
        let end = Stat::now();
        let all = end.all.saturating_sub(self.begin.all).max(1);
        let steal = end.steal.saturating_sub(self.begin.steal);
        json!({
            "steal_percent": steal as f64 * 100.0 / all as f64,
            "load_at_begin": self.load_at_begin,
            "load_at_end": load_average(),
        })
    }
}

impl Stat {
    fn now() -> Self {
        let text = read("/proc/stat");
        let ticks: Vec<u64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        Self {
            // Guest time is in user time already.
            all: ticks.iter().take(8).sum(),
            steal: ticks.get(7).copied().unwrap_or_default(),
        }
    }
}

/// User and system time of processes and of all their descendants.
pub fn cpu_time(roots: &[u32]) -> Duration {
    let ticks: u64 = family(roots).values().sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// The same of this process alone: whom it has started are counted by themselves.
pub fn own_cpu_time() -> Duration {
    let ticks = fields(&read("/proc/self/stat")).map_or(0, |fields| fields.own);
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Bytes of memory of processes and of all their descendants. What several share is counted once, in parts.
pub fn memory(roots: &[u32]) -> u64 {
    family(roots).keys().map(|&process| own_memory(process)).sum()
}

fn own_memory(process: u32) -> u64 {
    let of = |file: &str, name| {
        let line = line_of(&format!("/proc/{process}/{file}"), name)?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    // Without the right to read the first, the second counts what is shared several times.
    of("smaps_rollup", "Pss")
        .or_else(|| of("status", "VmRSS"))
        .unwrap_or_default()
        * 1024
}

/// CPU time of the threads of a process by their names, numbers at the end left out.
pub fn threads(process: u32) -> HashMap<String, Duration> {
    let mut times: HashMap<String, Duration> = HashMap::new();
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
        let name = name.map_or("", |(name, _)| name);
        let name = name.trim_end_matches(|last: char| last.is_ascii_digit() || "-_ #".contains(last));
        let ticks = fields(&stat).map_or(0, |fields| fields.own);
        *times.entry(name.to_owned()).or_default() += Duration::from_millis(ticks * 1000 / TICKS);
    }
    times
}

struct Fields {
    parent: u32,
    own: u64,
    /// With the children that have ended.
    whole: u64,
}

/// Every process of these families and its CPU time in ticks.
fn family(roots: &[u32]) -> HashMap<u32, u64> {
    let mut all = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(fields) = fields(&read(&format!("/proc/{process}/stat"))) {
            all.insert(process, fields);
        }
    }
    let belongs = |mut process: u32| {
        while let Some(fields) = all.get(&process) {
            if roots.contains(&process) {
                return true;
            }
            process = fields.parent;
        }
        false
    };
    all.iter()
        .filter(|&(&process, _)| belongs(process))
        .map(|(&process, fields)| (process, fields.whole))
        .collect()
}

fn fields(stat: &str) -> Option<Fields> {
    // The name may hold anything; the fields after it are numbers.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let own = number(11)? + number(12)?;
    Some(Fields {
        parent: u32::try_from(number(1)?).ok()?,
        own,
        whole: own + number(13)? + number(14)?,
    })
}

fn load_average() -> String {
    read("/proc/loadavg")
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

fn line_of(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (held, value) = line.split_once(':')?;
        (held.trim() == name).then(|| value.trim().to_owned())
    })
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

/// `sysconf(_SC_CLK_TCK)` of every Linux.
const TICKS: u64 = 100;
