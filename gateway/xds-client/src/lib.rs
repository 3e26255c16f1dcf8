// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Delta ADS client: subscriptions, ACK and NACK, reconnects, workload certificates.
