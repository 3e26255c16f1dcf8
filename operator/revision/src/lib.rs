// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Canonical encoding, hash and chunks of a revision. Pure.
