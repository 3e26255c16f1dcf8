// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Delta and state-of-the-world ADS with per-node subscriptions and an ACK ledger.
