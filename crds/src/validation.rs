// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The rules of our kinds, checked without an API server: for objects from a folder and for merged overrides.
