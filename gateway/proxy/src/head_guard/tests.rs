// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Vectors, each fed whole, byte by byte and split at every place: the verdict must not depend on the pieces.

use super::{HeadGuard, Refusal, Verdict};

const LIMIT: usize = 4096;

/// Feeds pieces like a connection does; the reason of the first refusal.
fn verdict(pieces: &[&[u8]]) -> Option<Refusal> {
    let mut guard = HeadGuard::new(LIMIT);
    for piece in pieces {
        match guard.inspect(piece) {
            Verdict::Pass => {}
            Verdict::RefuseHead { keep, reason } => {
                assert!(keep <= piece.len());
                return Some(reason);
            }
            Verdict::RefuseBody(reason) => return Some(reason),
        }
    }
    None
}

fn check(request: &[u8], expected: Option<Refusal>) {
    let shown = String::from_utf8_lossy(request).into_owned();
    assert_eq!(verdict(&[request]), expected, "whole: {shown:?}");
    let bytes: Vec<&[u8]> = request.chunks(1).collect();
    assert_eq!(verdict(&bytes), expected, "byte by byte: {shown:?}");
    for at in 1..request.len() {
        assert_eq!(verdict(&[&request[..at], &request[at..]]), expected, "split at {at}: {shown:?}");
    }
}

#[test]
fn well_formed_requests_pass() {
    for request in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nhost: a:80\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHOST:a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        // A body may hold what a head may not.
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n\n\n\0\r a",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n00\r\nx-sum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: [::1]:80\r\nx: \xff\t.\r\n\r\n",
    ] {
        check(request, None);
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    use Refusal as R;
    for (request, expected) in [
        (&b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"[..], R::LengthAndEncoding),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", R::LengthAndEncoding),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", R::DuplicateLength),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", R::DuplicateLength),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", R::BadLength),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", R::BadLength),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", R::BadLength),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", R::BadLength),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", R::BadLength),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", R::BadLength),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", R::BadEncoding),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", R::BadEncoding),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", R::BadEncoding),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", R::BadEncoding),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", R::BadEncoding),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", R::BadEncoding),
        (b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", R::BadEncoding),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\n Transfer-Encoding: chunked\r\n\r\n", R::Folded),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", R::Folded),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n", R::BadEncoding),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", R::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", R::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\n\n", R::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\rTransfer-Encoding: chunked\r\n\r\n", R::BareCarriageReturn),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\r\n\r\n", R::BareCarriageReturn),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", R::SpaceBeforeColon),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 1\r\n\r\n", R::SpaceBeforeColon),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", R::BadName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", R::BadName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx y: 1\r\n\r\n", R::BadName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx\x01: 1\r\n\r\n", R::BadName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", R::DuplicateHost),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", R::DuplicateHost),
        (b"GET / HTTP/1.1\r\nx: 1\r\n\r\n", R::MissingHost),
        (b"GET / HTTP/1.1\r\n\r\n", R::MissingHost),
        (b"GET / HTTP/1.0\r\n\r\n", R::MissingHost),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", R::BadHost),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", R::BadHost),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", R::BadHost),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", R::BadHost),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n", R::Nul),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", R::Nul),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", R::BadRequestLine),
        (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", R::BadRequestLine),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", R::BadRequestLine),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", R::BadRequestLine),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", R::BadRequestLine),
        (b"GET /\r\nHost: a\r\n\r\n", R::BadRequestLine),
        (b"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", R::BadRequestLine),
        (b"G\x7fT / HTTP/1.1\r\nHost: a\r\n\r\n", R::BadRequestLine),
        // The second of two requests on the connection.
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\r\n\r\n", R::MissingHost),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", R::MissingHost),
    ] {
        check(request, Some(expected));
    }
}

#[test]
fn broken_chunks_are_refused() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, expected) in [
        (&b"\r\n"[..], Refusal::BadChunk),
        (b"g\r\n", Refusal::BadChunk),
        (b"0x1\r\n", Refusal::BadChunk),
        (b"1 \r\n", Refusal::BadChunk),
        (b" 1\r\n", Refusal::BadChunk),
        (b"1\nx\r\n", Refusal::BadChunk),
        (b"1\r\nxy\r\n", Refusal::BadChunk),
        (b"1\r\nx\n0\r\n\r\n", Refusal::BadChunk),
        (b"1;a\nb\r\nx\r\n", Refusal::BadChunk),
        (b"1;a\0\r\nx\r\n", Refusal::BadChunk),
        (b"10000000000000001\r\n", Refusal::BadChunk),
        (b"0\r\nContent-Length: 1\r\n\r\n", Refusal::BadTrailer),
        (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::BadTrailer),
        (b"0\r\nHost: b\r\n\r\n", Refusal::BadTrailer),
        (b"0\r\nx: 1\r\n y: 2\r\n\r\n", Refusal::Folded),
        (b"0\r\nx : 1\r\n\r\n", Refusal::SpaceBeforeColon),
        (b"0\r\nx: 1\ny: 2\r\n\r\n", Refusal::BareLineFeed),
    ] {
        check(&[head, body].concat(), Some(expected));
    }
    let long = [&head[..], b"1;", &[b'a'; 300], b"\r\n"].concat();
    assert_eq!(verdict(&[&long]), Some(Refusal::BadChunk));
    let trailers = [&head[..], b"0\r\n", &b"x: 1\r\n".repeat(3000), b"\r\n"].concat();
    assert_eq!(verdict(&[&trailers]), Some(Refusal::BadTrailer));
}

#[test]
fn a_head_above_the_limit_is_refused_before_it_ends() {
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nx: ".to_vec();
    head.resize(LIMIT + 1, b'a');
    assert_eq!(verdict(&[&head]), Some(Refusal::TooLarge));
    let pieces: Vec<&[u8]> = head.chunks(100).collect();
    assert_eq!(verdict(&pieces), Some(Refusal::TooLarge));
}

#[test]
fn bytes_of_earlier_requests_are_kept() {
    let good = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let both = [&good[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
    let verdict = HeadGuard::new(LIMIT).inspect(&both);
    assert_eq!(verdict, Verdict::RefuseHead { keep: good.len(), reason: Refusal::MissingHost });
}
