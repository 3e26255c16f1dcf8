// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a plugin does with a stream: answer it, let it go on, end it.

use crate::abi::{OK, Status, code};
use crate::maps::unpack;
use crate::memory::{Host, both, slice};
use crate::state::HostState;
use bytes::Bytes;
use gateway_filter_api::LocalResponse;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use wasmtime::Linker;

/// Largest body of a plugin's own answer.
const ANSWER_BYTES: u32 = 16 * 1024 * 1024;

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker
        .func_wrap(
            "env",
            "proxy_send_local_response",
            |mut host: Host<'_>,
             status: u32,
             _details: u32,
             _details_size: u32,
             body: u32,
             body_size: u32,
             headers: u32,
             headers_size: u32,
             grpc: i32| {
                code(answer(&mut host, status, (body, body_size), (headers, headers_size), grpc))
            },
        )?
        .func_wrap("env", "proxy_continue_stream", |mut host: Host<'_>, _stream: u32| go_on(&mut host))?
        .func_wrap("env", "proxy_continue_request", |mut host: Host<'_>| go_on(&mut host))?
        .func_wrap("env", "proxy_continue_response", |mut host: Host<'_>| go_on(&mut host))?
        .func_wrap("env", "proxy_close_stream", |mut host: Host<'_>, _stream: u32| {
            let ended = LocalResponse::new(StatusCode::SERVICE_UNAVAILABLE, "wasm_close_stream");
            give_answer(host.data_mut(), ended);
            OK
        })?
        .func_wrap("env", "proxy_clear_route_cache", |mut host: Host<'_>| {
            if let Some(call) = host.data_mut().call.as_mut() {
                call.rerouted = true;
            }
            OK
        })?
        .func_wrap("env", "proxy_set_effective_context", |mut host: Host<'_>, context: u32| {
            host.data_mut().context = context;
            OK
        })?;
    Ok(())
}

fn answer(
    host: &mut Host<'_>,
    status: u32,
    body: (u32, u32),
    headers: (u32, u32),
    grpc: i32,
) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.filter(|status| !status.is_informational()).ok_or(Status::BadArgument)?;
    if body.1 > ANSWER_BYTES {
        return Err(Status::BadArgument);
    }
    let mut response = LocalResponse::new(status, "wasm_local_response");
    response.body = Bytes::copy_from_slice(slice(memory, body.0, body.1)?);
    response.headers = header_map(&unpack(slice(memory, headers.0, headers.1)?)?);
    response.grpc_status = u32::try_from(grpc).ok();
    give_answer(state, response);
    Ok(())
}

/// Headers that a plugin may give its answer; the framing is the proxy's, malformed ones are left out.
fn header_map(pairs: &[(&str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let framing = ["transfer-encoding", "content-length", "connection", "upgrade", "keep-alive"];
        let name =
            HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| !framing.contains(&name.as_str()));
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// The first answer counts.
fn give_answer(state: &mut HostState, response: LocalResponse) {
    match state.call.as_mut() {
        Some(call) => {
            call.answer.get_or_insert_with(|| Box::new(response));
        }
        // From a tick: a waiting stream is answered and let go on.
        None => {
            if let Some(resume) = state.paused.remove(&state.context) {
                state.answers.insert(state.context, Box::new(response));
                resume.resume();
            }
        }
    }
}

fn go_on(host: &mut Host<'_>) -> u32 {
    let state = host.data_mut();
    if let Some(call) = state.call.as_mut() {
        call.continued = true;
    }
    // Dropping the handle lets the stream go on.
    drop(state.paused.remove(&state.context));
    OK
}
