// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Routing objects to the typed model, with a verdict for each object. Pure.
