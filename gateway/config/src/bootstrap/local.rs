// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Where a gateway runs, as its bootstrap says.

use super::BootstrapError;
use crate::{LocalZone, Place};
use serde::Deserialize;

/// Where a gateway runs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Locality {
    #[serde(default)]
    region: String,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    sub_zone: String,
}

/// The place, and the cluster of the gateway's own kind.
pub(super) fn local_zone(
    locality: Option<Locality>,
    cluster: Option<String>,
) -> Result<Option<LocalZone>, BootstrapError> {
    let Some(Locality { region, zone, sub_zone }) = locality else {
        return match cluster {
            None => Ok(None),
            Some(_) => {
                let message = "needs locality: without it no zone is the gateway's own".to_owned();
                Err(BootstrapError::Field { field: "localCluster", message })
            }
        };
    };
    let place = Place { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() };
    Ok(Some(LocalZone { place, cluster: cluster.map(Into::into) }))
}

#[cfg(test)]
mod tests {
    use crate::Bootstrap;

    const FILE: &str =
        "controlPlane: {address: '127.0.0.1:18000', plaintext: true, node: {id: a}}\nstateDir: /x\n";

    #[test]
    fn a_place_may_be_written() {
        let parse = |more: &str| Bootstrap::parse(&format!("{FILE}{more}"), None);
        assert_eq!(parse("").unwrap().local, None);
        let local = parse("locality: {region: r, zone: z}\nlocalCluster: gateways\n").unwrap().local.unwrap();
        assert_eq!(
            (&*local.place.zone, &*local.place.sub_zone, local.cluster.as_deref()),
            ("z", "", Some("gateways"))
        );
        let error = parse("localCluster: gateways\n").unwrap_err().to_string();
        assert!(error.contains("localCluster: needs locality"), "{error}");
    }
}
