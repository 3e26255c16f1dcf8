// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The process's allocator, and how it gives back what it keeps.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives memory that the calling thread has not used for a while back to the system; takes microseconds, or milliseconds where there is
/// much. The allocator does so by itself only when a thread allocates or frees, so one that a flood has left idle would keep all of it.
#[allow(unsafe_code, reason = "the allocator has no other way to be told")]
pub(crate) fn release() {
    // SAFETY: mi_collect has no preconditions; any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(false) }
}
