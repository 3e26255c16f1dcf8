// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Requests through plugins: what they change, and what they cost when they misbehave.

use crate::{HOLD, STAMP, context, end, first, host, plugin, request, start};
use bytes::BytesMut;
use gateway_config::WasmFailurePolicy::{FailClosed, FailOpen};
use gateway_filter_api::{FilterContext, Outcome, Phase, ResponseHead};
use http::{HeaderMap, StatusCode};
use std::time::{Duration, Instant};

fn status(outcome: &Outcome) -> Option<StatusCode> {
    match outcome {
        Outcome::Respond(response) => Some(response.status),
        _ => None,
    }
}

#[test]
fn a_header_is_set_from_the_configuration_and_the_route_chosen_anew() {
    let host = host();
    let worker = start(&host, &plugin(&host, STAMP, "stamped by me", FailClosed));
    for _ in 0..300 {
        let mut head = request("/");
        let mut filter = worker.stream(&crate::connection());
        let mut around = context(&mut head);
        assert!(matches!(filter.on_request_headers(&mut around, true), Outcome::Continue));
        assert!(around.reroute);
        assert_eq!(head.headers["x-plugin"], "stamped by me");
        assert_eq!(head.authority(), "shop.example", "the head came back whole");
        end(filter, &mut head);
    }
}

#[test]
fn a_plugin_answers_itself() {
    let host = host();
    let worker = start(&host, &plugin(&host, STAMP, "x", FailClosed));
    let (mut head, outcome, filter) = first(&*worker, "/teapot");
    let Outcome::Respond(response) = outcome else { panic!("{outcome:?}") };
    assert_eq!((response.status, &response.body[..]), (StatusCode::IM_A_TEAPOT, &b"short and stout"[..]));
    assert!(head.headers.is_empty());
    end(filter, &mut head);
}

#[test]
fn a_body_is_gathered_and_replaced() {
    let host = host();
    let worker = start(&host, &plugin(&host, STAMP, "x", FailClosed));
    let (mut head, _, mut filter) = first(&*worker, "/");
    assert!(filter.wants_response_body() && !filter.wants_request_body());
    let mut response = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
    let mut around = FilterContext { response: Some(&mut response), ..context(&mut head) };
    assert!(matches!(filter.on_response_headers(&mut around, false), Outcome::Continue));
    let mut chunk = BytesMut::from("some bytes");
    assert!(matches!(filter.on_response_body(&mut around, &mut chunk, false), Outcome::Buffer));
    assert_eq!(&chunk[..], b"some bytes");
    chunk.extend_from_slice(b", and more");
    assert!(matches!(filter.on_response_body(&mut around, &mut chunk, true), Outcome::Continue));
    assert_eq!(&chunk[..], b"replaced");
    end(filter, &mut head);
}

#[test]
fn an_endless_loop_costs_its_own_request_only_and_little_time() {
    let host = host();
    let looping = start(&host, &plugin(&host, STAMP, "one", FailClosed));
    let neighbour = start(&host, &plugin(&host, STAMP, "two", FailClosed));
    let (_, waiting, waits) = first(&*looping, "/");
    assert!(matches!(waiting, Outcome::Continue));

    let begun = Instant::now();
    let (mut head, outcome, filter) = first(&*looping, "/loop");
    // The deadline is 20 ms; a loaded machine may add to it.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(status(&outcome), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!((head.authority(), head.path.as_str()), ("shop.example", "/loop"), "the head came back");
    end(filter, &mut head);

    // A request that was in the same instance fails closed, in its next callback.
    let mut head = request("/");
    let mut response = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
    let mut around = FilterContext { response: Some(&mut response), ..context(&mut head) };
    let mut waits = waits;
    assert_eq!(status(&waits.on_response_headers(&mut around, true)), Some(StatusCode::SERVICE_UNAVAILABLE));
    end(waits, &mut head);
    // The next one gets a new instance; another plugin never noticed.
    for worker in [&looping, &neighbour] {
        assert!(matches!(first(&**worker, "/").1, Outcome::Continue));
    }
}

#[test]
fn a_plugin_that_traps_again_and_again_is_left_alone_and_the_policy_decides() {
    for (policy, expected) in [(FailClosed, Some(StatusCode::SERVICE_UNAVAILABLE)), (FailOpen, None)] {
        let host = host();
        let worker = start(&host, &plugin(&host, STAMP, "x", policy));
        for _ in 0..4 {
            assert_eq!(status(&first(&*worker, "/trap").1), expected);
            let (head, outcome, _) = first(&*worker, "/");
            assert!(
                matches!(outcome, Outcome::Continue) && head.headers.contains_key("x-plugin"),
                "started anew"
            );
        }
        assert_eq!(status(&first(&*worker, "/trap").1), expected);
        let (head, outcome, _) = first(&*worker, "/");
        assert_eq!(
            (status(&outcome), head.headers.contains_key("x-plugin")),
            (expected, false),
            "left alone"
        );
    }
}

#[tokio::test]
async fn a_held_request_goes_on_when_a_tick_says_so() {
    let host = host();
    let worker = start(&host, &plugin(&host, HOLD, "", FailClosed));
    let (mut head, outcome, mut filter) = first(&*worker, "/");
    let Outcome::Pause(pause) = outcome else { panic!("{outcome:?}") };
    tokio::time::timeout(Duration::from_secs(10), pause).await.expect("the tick lets it go on");
    assert!(matches!(filter.on_resume(&mut context(&mut head), Phase::RequestHeaders), Outcome::Continue));
    end(filter, &mut head);
}

#[test]
fn instances_share_data_and_swap_only_over_what_they_read() {
    let host = host();
    let plugin = plugin(&host, STAMP, "x", FailClosed);
    let (one, two) = (start(&host, &plugin), start(&host, &plugin));
    // Each request adds one to a shared byte; a lost update would leave the loop in the guest spinning into its deadline.
    for _ in 0..50 {
        for worker in [&one, &two] {
            assert!(matches!(first(&**worker, "/").1, Outcome::Continue));
        }
    }
}
