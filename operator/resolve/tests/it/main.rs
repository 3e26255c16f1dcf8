// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The resolver from outside: goldens, properties, cost.

mod golden;
mod input;
mod property;
mod scale;
mod summary;
