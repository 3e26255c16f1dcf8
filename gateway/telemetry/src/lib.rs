// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Logs, metrics, readiness and drain signals shared by both binaries.
