// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"time"
)

type test struct {
	name  string
	run   func(client) error
	skips map[string]bool
}

// Lengths around those at which a frame's head changes (RFC 6455, 5.2), and more than any buffer on the way.
var lengths = []int{0, 1, 125, 126, 65535, 65536, 1 << 20}

var cases = []test{
	{name: "text messages", run: messages(text)},
	{name: "binary messages", run: messages(binary)},
	{name: "a message in fragments", run: withConnection(fragments)},
	{name: "ping and pong", run: withConnection(func(c connection) error { return c.ping() })},
	{name: "a ping within a message in fragments", run: withConnection(func(c connection) error {
		if err := fragments(c); err != nil {
			return err
		}
		return c.ping()
	})},
	{name: "messages in both directions at once", run: withConnection(both)},
	{name: "a reader that takes its time", run: withConnection(slowly)},
	{name: "silence, then a message", run: withConnection(func(c connection) error {
		time.Sleep(1500 * time.Millisecond)
		return echo(c, text, []byte("still there"))
	})},
	{name: "the client closes", run: func(peer client) error {
		c, err := peer.dial(nil, false)
		if err != nil {
			return err
		}
		return c.close(4001, "enough")
	}},
	{name: "the server closes", run: withConnection(func(c connection) error { return ended(c, "close 4002 goodbye", "4002") })},
	{name: "the server breaks off", run: withConnection(func(c connection) error { return ended(c, "drop", "") })},
	{name: "the client breaks off", run: func(peer client) error {
		c, err := peer.dial(nil, false)
		if err != nil {
			return err
		}
		defer c.drop()
		return echo(c, text, []byte("last words"))
	}},
	{name: "a subprotocol is chosen", run: func(peer client) error {
		c, err := peer.dial([]string{"first.example", "second.example"}, false)
		if err != nil {
			return err
		}
		defer c.drop()
		if c.protocol() != "second.example" {
			return fmt.Errorf("%q", c.protocol())
		}
		return echo(c, text, []byte("spoken"))
	}},
	{name: "messages are compressed", skips: map[string]bool{"gobwas": true}, run: func(peer client) error {
		c, err := peer.dial(nil, true)
		if err != nil {
			return err
		}
		defer c.drop()
		if !c.compressed() {
			return errors.New("not agreed on")
		}
		return echo(c, text, bytes.Repeat([]byte("again and "), 20000))
	}},
	{name: "many connections at once", run: crowd},
}

func withConnection(run func(connection) error) func(client) error {
	return func(peer client) error {
		c, err := peer.dial(nil, false)
		if err != nil {
			return err
		}
		defer c.drop()
		return run(c)
	}
}

func messages(kind int) func(client) error {
	return withConnection(func(c connection) error {
		for _, length := range lengths {
			if err := echo(c, kind, content(length)); err != nil {
				return fmt.Errorf("%d bytes: %w", length, err)
			}
		}
		return nil
	})
}

// Letters, so that it is text as well.
func content(length int) []byte {
	message := make([]byte, length)
	for at := range message {
		message[at] = byte('a' + rand.Intn(26))
	}
	return message
}

func echo(c connection, kind int, message []byte) error {
	if err := c.send(kind, message, 1); err != nil {
		return err
	}
	return expect(c, kind, message)
}

func expect(c connection, kind int, message []byte) error {
	got, answer, err := c.receive()
	switch {
	case err != nil:
		return err
	case got != kind:
		return fmt.Errorf("kind %d", got)
	case !bytes.Equal(answer, message):
		return fmt.Errorf("%d other bytes", len(answer))
	}
	return nil
}

func fragments(c connection) error {
	message := content(300_000)
	if err := c.send(text, message, 7); err != nil {
		return err
	}
	return expect(c, text, message)
}

func both(c connection) error {
	const count = 200
	failed := make(chan error, 1)
	sent := make([][]byte, count)
	for at := range sent {
		sent[at] = content(rand.Intn(20_000))
	}
	go func() {
		for _, message := range sent {
			if err := c.send(binary, message, 1); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	for _, message := range sent {
		if err := expect(c, binary, message); err != nil {
			return err
		}
	}
	return <-failed
}

func slowly(c connection) error {
	message := content(4 << 20)
	failed := make(chan error, 1)
	go func() { failed <- c.send(binary, message, 1) }()
	time.Sleep(500 * time.Millisecond)
	if err := expect(c, binary, message); err != nil {
		return err
	}
	return <-failed
}

// Asks the server to end the connection, and expects it to say why.
func ended(c connection, order, reason string) error {
	if err := c.send(text, []byte(order), 1); err != nil {
		return err
	}
	_, message, err := c.receive()
	if err == nil {
		return fmt.Errorf("%d bytes instead of an end", len(message))
	}
	if reason != "" && !strings.Contains(err.Error(), reason) {
		return fmt.Errorf("ended without %s: %w", reason, err)
	}
	return nil
}

func crowd(peer client) error {
	const clients, rounds = 50, 10
	var group sync.WaitGroup
	failed := make(chan error, clients)
	for range clients {
		group.Go(func() {
			failed <- withConnection(func(c connection) error {
				for range rounds {
					if err := echo(c, text, content(1000)); err != nil {
						return err
					}
				}
				return nil
			})(peer)
		})
	}
	group.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}
