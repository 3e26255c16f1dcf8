// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Connections to endpoints: pools for HTTP/1.1 and HTTP/2, balancing, outlier ejection, circuit breakers.
