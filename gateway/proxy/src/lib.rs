// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listeners, TLS, the request phases, retries, access logs and drain.
