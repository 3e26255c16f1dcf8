// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The roles of the operator process: hub and relay, and where their objects come from.
