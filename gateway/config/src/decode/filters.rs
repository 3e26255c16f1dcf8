// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the configuration of the built-in HTTP filters, one file each.

pub(crate) mod api_key_auth;
pub(crate) mod bandwidth_limit;
pub(crate) mod basic_auth;
pub(crate) mod buffer;
pub(crate) mod compressor;
pub(crate) mod cors;
pub(crate) mod csrf;
pub(crate) mod ext_authz;
pub(crate) mod ext_proc;
pub(crate) mod fault;
pub(crate) mod header_mutation;
pub(crate) mod health_check;
pub(crate) mod jwt_authn;
pub(crate) mod local_rate_limit;
pub(crate) mod oauth2;
pub(crate) mod rate_limit;
pub(crate) mod rbac;
pub(crate) mod set_metadata;
