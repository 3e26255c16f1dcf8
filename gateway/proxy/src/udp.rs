// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Datagrams of one listener on one worker: they are received, and each goes to the session that it belongs to. A client's datagrams
//! always come to the same worker, as the kernel spreads them by addresses and ports.

mod counters;
mod session;
mod sessions;
mod socket;

pub(crate) use session::SessionFigures;

use crate::listener::{ListenerState, Phase, Watch};
use crate::worker::{LocalSnapshot, Worker};
use counters::Settings;
use gateway_config::Listener;
use sessions::Sessions;
use socket::{ClientSocket, Received};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Datagrams that are taken before others on the worker have their turn.
const BATCH: usize = 64;
/// No datagram is larger.
const LARGEST: usize = 65535;
/// How long receiving rests after an error that is not of one datagram.
const REST: Duration = Duration::from_millis(20);
/// Time between looks for sessions that are quiet while the listener drains.
const LOOK: Duration = Duration::from_millis(50);

/// Serves datagrams until the listener is gone. While it drains, no session begins, and those that are quiet end.
pub(crate) async fn serve(worker: Rc<Worker>, listener: Rc<ListenerState>, socket: UdpSocket) {
    let socket = match ClientSocket::new(socket, listener.shared.address) {
        Ok(socket) => Rc::new(socket),
        Err(error) => {
            let name = &listener.shared.name;
            return tracing::error!(listener = %name, %error, "worker can not use the listener's socket");
        }
    };
    let config = listener.config();
    let Some(settings) = Settings::new(&worker, &listener, &config) else { return };
    let sessions = Sessions::new(Rc::clone(&worker), Rc::clone(&listener), Rc::clone(&socket), settings);
    let mut seen = Seen { snapshot: worker.snapshot(), phase: listener.phase(), config };
    let mut watch = listener.watch();
    let mut buffer = vec![0; LARGEST].into_boxed_slice();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = seen.outdated(&worker, &listener, &mut watch) => {
                seen.renew(&worker, &listener, &sessions);
            }
            _ = look.tick(), if seen.phase >= Phase::Refusing => {
                sessions.end_quiet(worker.shared().options.drain.idle);
            }
            readable = socket.readable() => match readable {
                Ok(()) => receive(&sessions, &socket, &mut buffer).await,
                Err(_) => sleep(REST).await,
            },
        }
        if seen.phase >= Phase::Closed {
            sessions.clear();
        }
        if seen.phase >= Phase::Refusing && sessions.is_empty() {
            return;
        }
    }
}

/// Takes what has come.
async fn receive(sessions: &Rc<Sessions>, socket: &ClientSocket, buffer: &mut [u8]) {
    for _ in 0..BATCH {
        match socket.receive(buffer) {
            Ok(Received { bytes, client, local }) => {
                sessions.take(client, local, buffer.get(..bytes).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                tracing::debug!(%error, "cannot receive a datagram");
                sessions.count_error();
                return sleep(REST).await;
            }
        }
    }
    yield_now().await;
}

/// What the sessions were last looked at with.
struct Seen {
    snapshot: Rc<LocalSnapshot>,
    phase: Phase,
    config: Arc<Listener>,
}

impl Seen {
    /// Returns once one of them is another.
    async fn outdated(&self, worker: &Worker, listener: &ListenerState, watch: &mut Watch) {
        poll_fn(|context| {
            watch.register(context.waker());
            let same = self.phase == listener.phase() && Rc::ptr_eq(&self.snapshot, &worker.snapshot());
            if same { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    fn renew(&mut self, worker: &Rc<Worker>, listener: &Rc<ListenerState>, sessions: &Sessions) {
        self.phase = listener.phase();
        self.snapshot = worker.snapshot();
        if let Some(config) = listener.changed_from(&self.config) {
            if let Some(settings) = Settings::new(worker, listener, &config) {
                sessions.change(settings);
            }
            self.config = config;
        }
        sessions.end_gone(&self.snapshot);
    }
}
