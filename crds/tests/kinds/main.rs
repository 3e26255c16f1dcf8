// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The kinds from outside: what is refused and why, what is accepted, what the definitions say.

mod definitions;
mod pending;
mod rules;
