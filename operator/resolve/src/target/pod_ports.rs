// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Ports that a gateway's pod needs for itself.

/// Admin, readiness and metrics of the gateway.
const OWN_PORTS: [u16; 3] = [15000, 15021, 15090];

/// Pods bind ports below 1024 that much higher; the Service maps them.
const SHIFT: u16 = 10_000;

/// The port inside the pod.
fn pod_port(port: u16) -> u16 {
    if port < 1024 { port + SHIFT } else { port }
}

/// Why a listener cannot have `port` beside those that others have; none where it can.
pub(super) fn obstacle(port: u16, others: impl IntoIterator<Item = u16>) -> Option<String> {
    if OWN_PORTS.contains(&port) {
        return Some(format!("port {port} is used by the gateway itself; choose another port"));
    }
    // Of two ports that meet in the pod the one below 1024 stays: it is the one that clients expect.
    let low = others.into_iter().find(|other| port >= 1024 && *other != port && pod_port(*other) == port)?;
    Some(format!("port {port} is where the gateway's pods bind port {low}; choose another port"))
}

#[cfg(test)]
mod tests {
    use super::obstacle;

    #[test]
    fn ports_that_meet_in_the_pod_are_refused_once() {
        assert!(obstacle(10080, [80, 10080]).is_some());
        assert!(obstacle(80, [80, 10080]).is_none());
        assert!(obstacle(15021, []).is_some());
        assert!(obstacle(8080, [80, 8080]).is_none());
    }
}
