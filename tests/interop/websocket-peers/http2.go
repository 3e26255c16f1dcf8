// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"golang.org/x/net/http2"
)

// WebSocket over a stream of HTTP/2 (RFC 8441); all connections of a client share one of HTTP/2.
type gobwasClient struct {
	url      string
	settings *tls.Config
}

var shared = sync.OnceValue(func() *http2.Transport { return &http2.Transport{} })

type gobwasConnection struct {
	answer *http.Response
	writer *io.PipeWriter
	writes sync.Mutex
}

func (peer gobwasClient) dial(protocols []string, _ bool) (connection, error) {
	transport := shared()
	if peer.settings != nil {
		transport.TLSClientConfig = peer.settings
	} else {
		transport.AllowHTTP = true
		transport.DialTLSContext = func(_ context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
			return net.Dial(network, address)
		}
	}
	reader, writer := io.Pipe()
	target := strings.Replace(strings.Replace(peer.url, "wss:", "https:", 1), "ws:", "http:", 1)
	request, err := http.NewRequest(http.MethodConnect, target, reader)
	if err != nil {
		return nil, err
	}
	request.Header.Set(":protocol", "websocket")
	request.Header.Set("Sec-WebSocket-Version", "13")
	if len(protocols) > 0 {
		request.Header.Set("Sec-WebSocket-Protocol", strings.Join(protocols, ", "))
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s", answer.Status)
	}
	return &gobwasConnection{answer: answer, writer: writer}, nil
}

func (c *gobwasConnection) Read(bytes []byte) (int, error) {
	return c.answer.Body.Read(bytes)
}

func (c *gobwasConnection) Write(bytes []byte) (int, error) {
	return c.writer.Write(bytes)
}

func (c *gobwasConnection) write(frame ws.Frame) error {
	c.writes.Lock()
	defer c.writes.Unlock()
	return ws.WriteFrame(c, ws.MaskFrame(frame))
}

func (c *gobwasConnection) send(kind int, message []byte, fragments int) error {
	size := len(message)/fragments + 1
	code := ws.OpCode(kind)
	for ; len(message) > size; message = message[size:] {
		if err := c.write(ws.NewFrame(code, false, message[:size])); err != nil {
			return err
		}
		code = ws.OpContinuation
	}
	return c.write(ws.NewFrame(code, true, message))
}

func (c *gobwasConnection) receive() (int, []byte, error) {
	message, code, err := wsutil.ReadServerData(c)
	return int(code), message, err
}

func (c *gobwasConnection) ping() error {
	if err := c.write(ws.NewPingFrame([]byte("there?"))); err != nil {
		return err
	}
	frame, err := ws.ReadFrame(c)
	switch {
	case err != nil:
		return err
	case frame.Header.OpCode != ws.OpPong || string(frame.Payload) != "there?":
		return fmt.Errorf("frame %d %q", frame.Header.OpCode, frame.Payload)
	}
	return nil
}

func (c *gobwasConnection) close(code int, reason string) error {
	if err := c.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), reason))); err != nil {
		return err
	}
	frame, err := ws.ReadFrame(c)
	if err != nil {
		return err
	}
	if got, _ := ws.ParseCloseFrameData(frame.Payload); frame.Header.OpCode != ws.OpClose || int(got) != code {
		return fmt.Errorf("frame %d, code %d", frame.Header.OpCode, got)
	}
	// The server ends its side after the handshake.
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("no end of the stream: %w", err)
	}
	return c.writer.Close()
}

func (c *gobwasConnection) protocol() string {
	return c.answer.Header.Get("Sec-Websocket-Protocol")
}

func (c *gobwasConnection) compressed() bool {
	return false
}

func (c *gobwasConnection) drop() {
	c.writer.Close()
	c.answer.Body.Close()
}
