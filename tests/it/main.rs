// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Tests of the repository and of the product from outside. One binary, one module for each subject.

#![allow(clippy::expect_used, reason = "a test that cannot read its own repository has failed")]

mod tidy;
