// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Guest memory, bounds checked: the only way in which the host reads and writes it.

use crate::abi::Status;
use crate::state::HostState;
use wasmtime::Caller;

/// A host call's view of the instance.
pub(crate) type Host<'a> = Caller<'a, HostState>;

/// Memory and state at once.
pub(crate) fn both<'a>(host: &'a mut Host<'_>) -> Result<(&'a mut [u8], &'a mut HostState), Status> {
    let memory = host.data().memory.ok_or(Status::InternalFailure)?;
    Ok(memory.data_and_store_mut(host))
}

/// The bytes at `start`.
pub(crate) fn slice(memory: &[u8], start: u32, length: u32) -> Result<&[u8], Status> {
    let start = start as usize;
    let end = start.checked_add(length as usize).ok_or(Status::InvalidMemoryAccess)?;
    memory.get(start..end).ok_or(Status::InvalidMemoryAccess)
}

/// The text at `start`.
pub(crate) fn text(memory: &[u8], start: u32, length: u32) -> Result<&str, Status> {
    std::str::from_utf8(slice(memory, start, length)?).map_err(|_| Status::BadArgument)
}

/// Writes bytes at `start`.
pub(crate) fn write(memory: &mut [u8], start: u32, bytes: &[u8]) -> Result<(), Status> {
    let start = start as usize;
    let end = start.checked_add(bytes.len()).ok_or(Status::InvalidMemoryAccess)?;
    memory.get_mut(start..end).ok_or(Status::InvalidMemoryAccess)?.copy_from_slice(bytes);
    Ok(())
}

/// Writes a number at `start`.
pub(crate) fn write_u32(memory: &mut [u8], start: u32, number: u32) -> Result<(), Status> {
    write(memory, start, &number.to_le_bytes())
}

/// Gives the guest bytes: in memory that its own allocator provides, whose place and length go to the two addresses.
pub(crate) fn give(host: &mut Host<'_>, bytes: &[u8], place: u32, length: u32) -> Result<(), Status> {
    let size = u32::try_from(bytes.len()).map_err(|_| Status::InternalFailure)?;
    let start = if size == 0 { 0 } else { allocate(host, size)? };
    let (memory, _) = both(host)?;
    write(memory, start, bytes)?;
    write_u32(memory, place, start)?;
    write_u32(memory, length, size)
}

fn allocate(host: &mut Host<'_>, size: u32) -> Result<u32, Status> {
    let allocate = host.data().allocate.clone().ok_or(Status::InternalFailure)?;
    // A trap in the allocator shows itself to the guest as a failed call; an expired deadline traps again at once.
    match allocate.call(&mut *host, size) {
        Ok(0) | Err(_) => Err(Status::InternalFailure),
        Ok(start) => Ok(start),
    }
}
