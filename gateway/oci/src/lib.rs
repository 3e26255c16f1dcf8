// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Fetches plugin artifacts by digest from OCI registries, verifies and caches them.
