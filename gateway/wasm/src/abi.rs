// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Numbers of the proxy-wasm ABI (versions 0.1.0, 0.2.0, 0.2.1 and Higress's 0.2.100).

/// What a host call answers (`WasmResult`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    NotFound = 1,
    BadArgument = 2,
    ParseFailure = 4,
    InvalidMemoryAccess = 6,
    CasMismatch = 8,
    InternalFailure = 10,
    Unimplemented = 12,
}

/// The number of success.
pub(crate) const OK: u32 = 0;

/// A host call's outcome as its number.
pub(crate) fn code(result: Result<(), Status>) -> u32 {
    result.map_or_else(|status| status as u32, |()| OK)
}

/// The version that a module was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abi {
    V0_1_0,
    V0_2_0,
    V0_2_1,
    V0_2_100,
}

impl Abi {
    /// By the export that declares it.
    pub(crate) const DECLARATIONS: [(&'static str, Self); 4] = [
        ("proxy_abi_version_0_2_100", Self::V0_2_100),
        ("proxy_abi_version_0_2_1", Self::V0_2_1),
        ("proxy_abi_version_0_2_0", Self::V0_2_0),
        ("proxy_abi_version_0_1_0", Self::V0_1_0),
    ];

    /// Reads what a header callback returned. Before 0.2.100 "pause" meant that nothing goes on, body callbacks included.
    pub(crate) fn header_action(self, raw: u32) -> Action {
        match (raw, self) {
            (0 | 2, _) => Action::Continue,
            (1, Self::V0_2_100) => Action::Buffer,
            _ => Action::Pause,
        }
    }

    /// Reads what a body callback returned.
    pub(crate) fn body_action(raw: u32) -> Action {
        match raw {
            0 => Action::Continue,
            3 => Action::Discard,
            _ => Action::Buffer,
        }
    }
}

/// What a callback asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Go on.
    Continue,
    /// Keep what there is and offer it again with more.
    Buffer,
    /// Nothing goes on until the plugin says so.
    Pause,
    /// Go on without this chunk.
    Discard,
}

/// Header maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    RequestHeaders,
    ResponseHeaders,
    /// Trailers and maps of callouts: always empty so far.
    Other,
}

impl MapKind {
    pub(crate) fn read(raw: u32) -> Result<Self, Status> {
        match raw {
            0 => Ok(Self::RequestHeaders),
            2 => Ok(Self::ResponseHeaders),
            1 | 3..=7 => Ok(Self::Other),
            _ => Err(Status::BadArgument),
        }
    }
}

/// Buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferKind {
    RequestBody,
    ResponseBody,
    VmConfiguration,
    PluginConfiguration,
}

impl BufferKind {
    pub(crate) fn read(raw: u32) -> Result<Self, Status> {
        match raw {
            0 => Ok(Self::RequestBody),
            1 => Ok(Self::ResponseBody),
            6 => Ok(Self::VmConfiguration),
            7 => Ok(Self::PluginConfiguration),
            2..=5 | 8 | 9 => Err(Status::NotFound),
            _ => Err(Status::BadArgument),
        }
    }
}
