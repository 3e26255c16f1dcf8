// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	gorilla "github.com/gorilla/websocket"
)

type gorillaClient struct {
	url      string
	settings *tls.Config
}

type gorillaConnection struct {
	*gorilla.Conn
	answer *http.Response
	pongs  chan string
}

func (peer gorillaClient) dial(protocols []string, compress bool) (connection, error) {
	dialer := gorilla.Dialer{
		TLSClientConfig:   peer.settings,
		Subprotocols:      protocols,
		EnableCompression: compress,
		HandshakeTimeout:  limit / 2,
	}
	c, answer, err := dialer.Dial(peer.url, nil)
	if err != nil {
		return nil, err
	}
	made := &gorillaConnection{c, answer, make(chan string, 1)}
	c.SetPongHandler(func(data string) error {
		made.pongs <- data
		return nil
	})
	return made, nil
}

func (c *gorillaConnection) send(kind int, message []byte, fragments int) error {
	writer, err := c.NextWriter(kind)
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

func (c *gorillaConnection) receive() (int, []byte, error) {
	return c.ReadMessage()
}

func (c *gorillaConnection) ping() error {
	if err := c.WriteControl(gorilla.PingMessage, []byte("there?"), time.Now().Add(limit)); err != nil {
		return err
	}
	// Control frames are seen by who reads: the echo comes behind the pong.
	if err := echo(c, text, []byte("behind it")); err != nil {
		return err
	}
	select {
	case data := <-c.pongs:
		if data != "there?" {
			return fmt.Errorf("%q", data)
		}
		return nil
	default:
		return errors.New("no pong")
	}
}

func (c *gorillaConnection) close(code int, reason string) error {
	if err := c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, reason)); err != nil {
		return err
	}
	_, _, err := c.ReadMessage()
	if !gorilla.IsCloseError(err, code) {
		return fmt.Errorf("closed with %v", err)
	}
	return c.Close()
}

func (c *gorillaConnection) protocol() string {
	return c.Subprotocol()
}

func (c *gorillaConnection) compressed() bool {
	return strings.Contains(c.answer.Header.Get("Sec-Websocket-Extensions"), "permessage-deflate")
}

func (c *gorillaConnection) drop() {
	c.Close()
}
