// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Outlier detection at intervals: hosts that fail more often than the others, or than a fixed share (`success_rate`, `failure_percentage`).

use gateway_config::{OutlierDetection, RateDetection};

/// What a host did in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Requests.
    pub(crate) total: u32,
    /// Those that went well.
    pub(crate) good: u32,
}

/// Why a host is to be ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its success rate is too far below the others'.
    SuccessRate,
    /// Too large a share of its requests failed.
    FailurePercentage,
}

/// The hosts to eject after an interval, by position.
pub(crate) fn outliers(windows: &[Window], policy: &OutlierDetection) -> Vec<(usize, Cause)> {
    let RateDetection { success_rate, failure_percentage } = &policy.rates;
    let busy = |volume: u32| -> Vec<(usize, f64)> {
        let hosts = windows.iter().enumerate().filter(|(_, window)| window.total >= volume.max(1));
        hosts.map(|(at, w)| (at, f64::from(w.good) * 100.0 / f64::from(w.total))).collect()
    };
    let mut found = Vec::new();
    if let Some(rule) = success_rate {
        let rates = busy(rule.request_volume);
        if !rates.is_empty() && rates.len() >= rule.minimum_hosts as usize {
            let limit = threshold(&rates, f64::from(rule.stdev_factor) / 1000.0);
            found.extend(rates.iter().filter(|(_, r)| *r < limit).map(|(at, _)| (*at, Cause::SuccessRate)));
        }
    }
    if let Some(rule) = failure_percentage {
        let rates = busy(rule.request_volume);
        if !rates.is_empty() && rates.len() >= rule.minimum_hosts as usize {
            let failing = rates.iter().filter(|(_, rate)| 100.0 - rate >= f64::from(rule.threshold));
            found.extend(failing.map(|(at, _)| (*at, Cause::FailurePercentage)));
        }
    }
    found
}

/// The mean less so many standard deviations.
fn threshold(rates: &[(usize, f64)], factor: f64) -> f64 {
    let count: f64 = rates.iter().map(|_| 1.0).sum();
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    mean - variance.sqrt() * factor
}

#[cfg(test)]
mod tests {
    use super::{Cause, Window, outliers};
    use gateway_config::{FailurePercentage, OutlierDetection, RateDetection, SuccessRate};

    fn window(total: u32, good: u32) -> Window {
        Window { total, good }
    }

    #[test]
    fn outliers_are_found() {
        let rates = RateDetection {
            success_rate: Some(SuccessRate {
                enforcing: 100,
                minimum_hosts: 5,
                request_volume: 100,
                stdev_factor: 1900,
            }),
            failure_percentage: Some(FailurePercentage {
                enforcing: 100,
                threshold: 85,
                minimum_hosts: 3,
                request_volume: 50,
            }),
        };
        let policy = OutlierDetection { rates, ..OutlierDetection::default() };
        let good = window(100, 99);
        for (windows, expected) in [
            (vec![good; 5], vec![]),
            (vec![good, good, good, good, window(100, 50)], vec![(4, Cause::SuccessRate)]),
            // Too few requests on one of five: the success rate needs five busy hosts.
            (vec![good, good, good, window(99, 99), window(100, 50)], vec![]),
            (vec![good, good, window(60, 9)], vec![(2, Cause::FailurePercentage)]),
            (vec![good, good, window(60, 10)], vec![]),
            (vec![good, window(60, 0)], vec![]),
            (vec![], vec![]),
        ] {
            assert_eq!(outliers(&windows, &policy), expected, "{windows:?}");
        }
    }
}
