// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"

	coder "github.com/coder/websocket"
)

type coderClient struct {
	url      string
	settings *tls.Config
}

type coderConnection struct {
	*coder.Conn
	answer *http.Response
}

func (peer coderClient) dial(protocols []string, compress bool) (connection, error) {
	options := &coder.DialOptions{
		HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: peer.settings}},
		Subprotocols: protocols,
	}
	if compress {
		options.CompressionMode = coder.CompressionContextTakeover
	}
	c, answer, err := coder.Dial(context.Background(), peer.url, options)
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(longest)
	return &coderConnection{c, answer}, nil
}

func (c *coderConnection) send(kind int, message []byte, fragments int) error {
	writer, err := c.Writer(context.Background(), coder.MessageType(kind))
	if err != nil {
		return err
	}
	size := len(message)/fragments + 1
	for ; len(message) > size; message = message[size:] {
		if _, err := writer.Write(message[:size]); err != nil {
			return err
		}
	}
	if _, err := writer.Write(message); err != nil {
		return err
	}
	return writer.Close()
}

func (c *coderConnection) receive() (int, []byte, error) {
	kind, message, err := c.Read(context.Background())
	return int(kind), message, err
}

func (c *coderConnection) ping() error {
	// The pong is seen by a reader.
	reading := make(chan error, 1)
	go func() { reading <- expect(c, text, []byte("behind it")) }()
	if err := c.Ping(context.Background()); err != nil {
		return err
	}
	if err := c.send(text, []byte("behind it"), 1); err != nil {
		return err
	}
	return <-reading
}

func (c *coderConnection) close(code int, reason string) error {
	return c.Close(coder.StatusCode(code), reason)
}

func (c *coderConnection) protocol() string {
	return c.Subprotocol()
}

func (c *coderConnection) compressed() bool {
	return strings.Contains(c.answer.Header.Get("Sec-Websocket-Extensions"), "permessage-deflate")
}

func (c *coderConnection) drop() {
	c.CloseNow()
}
