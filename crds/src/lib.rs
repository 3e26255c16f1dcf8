// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The kinds of gatefleet.dev and of Gateway API, typed.
