// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Generators and checks of the repository.

mod crds;
mod descriptors;
mod gateway_api;
mod repository;

const USAGE: &str = "\
usage: cargo run -p xtask -- COMMAND
  crds [--check]        write crds/generated and the kinds' chart from the Rust types
  descriptors [--check] write gateway/xds-api/descriptors.bin.zst from the protobuf files of the envoy-types crate
  gateway-api KOPIUM    write crds/src/gateway_api/*.rs from crds/gateway-api/*.yaml; KOPIUM is the path of kopium 0.24.1";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["crds"] => crds::run(false),
        ["crds", "--check"] => crds::run(true),
        ["descriptors"] => descriptors::run(false),
        ["descriptors", "--check"] => descriptors::run(true),
        ["gateway-api", kopium] => gateway_api::run(kopium),
        _ => anyhow::bail!("{USAGE}"),
    }
}
