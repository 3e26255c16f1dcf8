// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Applies member workloads: to Kubernetes by server-side apply, to a host as processes.
