// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The resolver from outside: goldens, properties, cost. (`cfg(test)` tells clippy that helpers are test code too.)

#[cfg(test)]
mod golden;
#[cfg(test)]
mod input;
#[cfg(test)]
mod property;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod summary;
#[cfg(test)]
mod written;
