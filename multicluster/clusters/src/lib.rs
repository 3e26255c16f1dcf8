// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Member clusters: credentials, clients, health. One supervised task each.
