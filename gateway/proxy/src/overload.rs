// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What happens when memory runs short: step by step the gateway takes on less, so that it is never killed, and takes everything again
//! once there is room. Admin and readiness pages are served by other threads and go on.

use crate::metrics::{Stat, StatScope, StatTag, StatValue};
use crate::worker::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::WeakUnboundedSender;

/// The shortest and the longest time between two looks at the memory.
const LOOKS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];
/// How fast a flood may make requests that will use memory up, bytes in a millisecond: the next look comes before all that is left can
/// be promised.
const FASTEST: u64 = 8 << 20;
/// Time between two times that memory is given back while it is short.
const RELEASE: Duration = Duration::from_millis(500);
/// A step is taken back once memory is this much below its mark, percent: a mark is not crossed with every look.
const BACK: u64 = 2;

/// How short memory is. Each step holds what the ones before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// It is not.
    #[default]
    None,
    /// Connections without a request end, those whose client does not take its answer get no more of it, and allocators give back what
    /// they keep.
    ShrinkIdle,
    /// Connections end with their request.
    NoKeepAlive,
    /// Requests are answered 503 with `Retry-After`.
    NoRequests,
    /// Connections are closed as soon as they come, and those whose client does not take its answer end.
    NoConnections,
}

impl Pressure {
    /// All steps with their marks, percent of the budget, and the names of Envoy's actions.
    const STEPS: [(Self, u64, &'static str); 4] = [
        (Self::ShrinkIdle, 90, "shrink_heap"),
        (Self::NoKeepAlive, 92, "disable_http_keepalive"),
        (Self::NoRequests, 95, "stop_accepting_requests"),
        (Self::NoConnections, 98, "stop_accepting_connections"),
    ];

    /// The step for so much of the budget, percent.
    fn at(self, percent: u64) -> Self {
        let reached = |&(step, mark, _): &(Self, u64, &str)| {
            if step <= self { percent + BACK > mark } else { percent >= mark }
        };
        Self::STEPS.iter().rfind(|step| reached(step)).map_or(Self::None, |(step, ..)| *step)
    }

    fn from_number(number: u64) -> Self {
        let steps = [Self::None, Self::ShrinkIdle, Self::NoKeepAlive, Self::NoRequests, Self::NoConnections];
        steps.get(usize::try_from(number).unwrap_or_default()).copied().unwrap_or_default()
    }
}

/// The process's memory against its budget.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    budget: Option<u64>,
    release: Option<fn()>,
    used: AtomicU64,
    pressure: AtomicU64,
    /// How often a step was entered.
    entered: [AtomicU64; Pressure::STEPS.len()],
}

impl Memory {
    /// Without a budget there is nothing to run short of; `release` gives back what a thread's allocator keeps.
    pub(crate) fn new(budget: Option<u64>, release: Option<fn()>) -> Arc<Self> {
        Arc::new(Self { budget: budget.filter(|budget| *budget > 0), release, ..Self::default() })
    }

    /// Looks at the memory until the proxy is gone, and tells the workers of each change.
    pub(crate) fn watch(self: &Arc<Self>, workers: Vec<WeakUnboundedSender<Command>>) -> std::io::Result<()> {
        let Some(budget) = self.budget else { return Ok(()) };
        let memory = Arc::downgrade(self);
        std::thread::Builder::new().name("memory".into()).spawn(move || {
            let mut released = Instant::now();
            while let Some(used) = look(&memory, budget, &workers) {
                if released.elapsed() >= RELEASE {
                    released = Instant::now();
                    release(&memory, &workers);
                }
                let left = Duration::from_millis(budget.saturating_sub(used) / FASTEST);
                std::thread::sleep(left.clamp(LOOKS[0], LOOKS[1]));
            }
        })?;
        Ok(())
    }

    /// How short it is now. Written only where it changes, so that workers may ask for each request.
    pub(crate) fn pressure(&self) -> Pressure {
        Pressure::from_number(self.pressure.load(Ordering::Relaxed))
    }

    /// Notes how much is used; the step, where it is another.
    fn note(&self, used: u64, budget: u64) -> Option<Pressure> {
        self.used.store(used, Ordering::Relaxed);
        let before = self.pressure();
        let now = before.at(used.saturating_mul(100) / budget);
        for (number, (step, ..)) in self.entered.iter().zip(Pressure::STEPS) {
            if before < step && step <= now {
                number.fetch_add(1, Ordering::Relaxed);
            }
        }
        if now == before {
            return None;
        }
        self.pressure.store(now as u64, Ordering::Relaxed);
        Some(now)
    }

    /// Tells its numbers.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&Stat<'_>)) {
        let Some(budget) = self.budget else { return };
        let (used, pressure) = (self.used.load(Ordering::Relaxed), self.pressure());
        let mut tell =
            |name: &str, tag, value| visit(&Stat { scope: StatScope::Own(None), name, tag, value });
        tell("memory_budget_bytes", None, StatValue::Gauge(budget));
        tell("memory_used_bytes", None, StatValue::Gauge(used));
        for (step, _, action) in Pressure::STEPS {
            let tag = StatTag { family: "overload_active", label: "action", value: action };
            let active = StatValue::Gauge(u64::from(step <= pressure));
            tell(&format!("overload_active.{action}"), Some(tag), active);
        }
        for (number, (.., action)) in self.entered.iter().zip(Pressure::STEPS) {
            let tag = StatTag { family: "overload_entered_total", label: "action", value: action };
            let entered = StatValue::Counter(number.load(Ordering::Relaxed));
            tell(&format!("overload_entered.{action}"), Some(tag), entered);
        }
    }
}

/// Looks once, and tells what is used; none where nobody wants to know any more.
fn look(memory: &Weak<Memory>, budget: u64, workers: &[WeakUnboundedSender<Command>]) -> Option<u64> {
    let memory = memory.upgrade()?;
    let Some(used) = resident() else { return Some(0) };
    if let Some(pressure) = memory.note(used, budget) {
        if pressure == Pressure::None {
            tracing::info!(used, budget, "memory is no longer short");
        } else {
            tracing::warn!(used, budget, ?pressure, "memory is short");
        }
        for worker in workers.iter().filter_map(WeakUnboundedSender::upgrade) {
            // A worker that is gone needs nothing.
            drop(worker.send(Command::Press));
        }
    }
    Some(used)
}

/// While memory is short: what is free is of no use to a thread that has nothing to do, and counts as used.
fn release(memory: &Weak<Memory>, workers: &[WeakUnboundedSender<Command>]) {
    let short = memory.upgrade().filter(|memory| memory.pressure() > Pressure::None);
    let Some(release) = short.and_then(|memory| memory.release) else { return };
    for worker in workers.iter().filter_map(WeakUnboundedSender::upgrade) {
        // A worker that is gone keeps nothing.
        drop(worker.send(Command::Release(release)));
    }
}

/// Memory of the process that is in use, bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::{Memory, Pressure, resident};
    use crate::metrics::PrometheusText;

    #[test]
    fn each_step_has_its_mark_and_is_left_below_it() {
        let memory = Memory::new(Some(1000), Option::None);
        let mut steps = Vec::new();
        for used in [100, 899, 900, 920, 919, 900, 899, 950, 980, 979, 961, 960, 935, 930, 100, 1200, 0] {
            if let Some(step) = memory.note(used, 1000) {
                steps.push((used, step));
            }
        }
        use Pressure::{NoConnections, NoKeepAlive, NoRequests, None, ShrinkIdle};
        assert_eq!(
            steps,
            [
                (900, ShrinkIdle),
                (920, NoKeepAlive),
                (900, ShrinkIdle),
                (950, NoRequests),
                (980, NoConnections),
                (961, NoRequests),
                (935, NoKeepAlive),
                (100, None),
                (1200, NoConnections),
                (0, None)
            ]
        );
        let mut text = String::new();
        let mut page = PrometheusText::new(&mut text);
        memory.visit(&mut |stat| page.write(stat));
        assert!(
            text.contains("gatefleet_overload_entered_total{action=\"stop_accepting_requests\"} 2"),
            "{text}"
        );
        assert!(text.contains("gatefleet_overload_active{action=\"shrink_heap\"} 0"), "{text}");
    }

    #[test]
    fn the_process_knows_its_memory() {
        assert!(resident().is_some_and(|bytes| bytes > 1024 * 1024));
    }
}
