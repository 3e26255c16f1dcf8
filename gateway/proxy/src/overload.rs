// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What happens when memory runs short: step by step the gateway takes on less, so that it is never killed, and takes everything again
//! once there is room. Admin and readiness pages are served by other threads and go on.

use crate::metrics::{Stat, StatScope, StatTag, StatValue};
use crate::worker::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc::WeakUnboundedSender;

/// Time between two looks at the memory, and where it is nearly used up.
const LOOK: Duration = Duration::from_millis(100);
const CLOSE_LOOK: Duration = Duration::from_millis(10);
/// From where on it is looked at closely, percent of the budget.
const CLOSE: u64 = 75;
/// A step is taken back once memory is this much below its mark, percent: a mark is not crossed with every look.
const BACK: u64 = 2;

/// How short memory is. Each step holds what the ones before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// It is not.
    #[default]
    None,
    /// Connections without a request end.
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
    used: AtomicU64,
    pressure: AtomicU64,
    /// How often a step was entered.
    entered: [AtomicU64; Pressure::STEPS.len()],
}

impl Memory {
    /// None: there is nothing to run short of.
    pub(crate) fn new(budget: Option<u64>) -> Arc<Self> {
        Arc::new(Self { budget: budget.filter(|budget| *budget > 0), ..Self::default() })
    }

    /// Looks at the memory until the proxy is gone, and tells the workers of each change.
    pub(crate) fn watch(self: &Arc<Self>, workers: Vec<WeakUnboundedSender<Command>>) -> std::io::Result<()> {
        let Some(budget) = self.budget else { return Ok(()) };
        let memory = Arc::downgrade(self);
        std::thread::Builder::new().name("memory".into()).spawn(move || {
            while let Some(used) = look(&memory, budget, &workers) {
                let close = used.saturating_mul(100) / budget >= CLOSE;
                std::thread::sleep(if close { CLOSE_LOOK } else { LOOK });
            }
        })?;
        Ok(())
    }

    fn pressure(&self) -> Pressure {
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
        self.pressure.store(now as u64, Ordering::Relaxed);
        (now != before).then_some(now)
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
            drop(worker.send(Command::Press(pressure)));
        }
    }
    Some(used)
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
        let memory = Memory::new(Some(1000));
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
