//! Processor time: what a thread has used, and what the machine has to spare.

use std::fs;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Returns the processor time that the calling thread has used; `None` if the system does not tell.
pub fn thread_time() -> Option<Duration> {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: ClockId) -> Option<Duration> {
    clock_gettime(clock).ok().map(Duration::from)
}

/// Meter of the processors that idle.
#[derive(Debug, Default)]
pub struct IdleMeter(Option<Reading>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    machine: Machine,
    /// Processor time of this process.
    own: Duration,
}

/// Times of all processors of the machine, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Machine {
    idle: u64,
    all: u64,
    processors: u32,
}

impl IdleMeter {
    /// Returns the processors that idled since the last call and that this process may use; `None` at the first call,
    /// and where the system does not tell. In a container the machine may idle more than its quota allows: then it is
    /// the rest of the quota.
    pub fn poll(&mut self, now: Instant) -> Option<f64> {
        let machine = Machine::parse(&fs::read_to_string("/proc/stat").ok()?)?;
        let reading = Reading { at: now, machine, own: read(ClockId::CLOCK_PROCESS_CPUTIME_ID)? };
        let before = self.0.replace(reading)?;
        let seconds = now.saturating_duration_since(before.at).as_secs_f64();
        let idle = machine.idle_since(before.machine)?;
        let quota = available_parallelism().ok()?.get() as f64;
        let own = reading.own.saturating_sub(before.own).as_secs_f64() / seconds.max(f64::EPSILON);
        Some(idle.min(quota - own).max(0.0))
    }
}

impl Machine {
    /// Reads the lines `cpu` and `cpuN` of `/proc/stat`: user, nice, system, idle, waits for disks, and others.
    fn parse(stat: &str) -> Option<Self> {
        let (all, each): (Vec<_>, Vec<_>) =
            stat.lines().filter(|line| line.starts_with("cpu")).partition(|line| line.starts_with("cpu "));
        let times: Vec<u64> = all.first()?.split_whitespace().skip(1).map_while(|time| time.parse().ok()).collect();
        // The last two are of guests, and in the first two already.
        let sum = times.iter().take(8).sum();
        Some(Self { idle: times.get(3)? + times.get(4)?, all: sum, processors: each.len() as u32 })
    }

    fn idle_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let idle = self.idle.saturating_sub(before.idle);
        Some(f64::from(self.processors) * idle as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_processors_are_those_of_the_time_between_two_readings() {
        let stat =
            |user: u64, idle: u64| format!("cpu  {user} 0 10 {idle} 5 0 0 0 {user} 0\ncpu0 1 2\ncpu1 1 2\nintr 5\n");
        let before = Machine::parse(&stat(100, 1000)).unwrap();
        assert_eq!(before, Machine { idle: 1005, all: 1115, processors: 2 });
        let after = Machine::parse(&stat(150, 1150)).unwrap();
        assert_eq!(after.idle_since(before), Some(1.5));
        assert_eq!(before.idle_since(before), None);
        assert_eq!(Machine::parse("intr 5\n"), None);
    }

    #[test]
    fn work_takes_processor_time_and_sleep_does_not() {
        let start = thread_time().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let slept = thread_time().unwrap() - start;
        assert!(slept < Duration::from_millis(40), "{slept:?}");
        while thread_time().unwrap() - start < Duration::from_millis(50) {}
    }
}
