// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

const longest = 8 << 20

// Echoes messages; "close CODE REASON" and "drop" end the connection.
func serve(address string, files []string) error {
	handler := http.NewServeMux()
	handler.HandleFunc("/gorilla", serveGorilla)
	handler.HandleFunc("/coder", serveCoder)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	server := &http.Server{Handler: handler}
	if len(files) == 2 {
		return server.ServeTLS(listener, files[0], files[1])
	}
	return server.Serve(listener)
}

func order(message []byte) (code int, reason string, drop bool) {
	words := strings.SplitN(string(message), " ", 3)
	if len(words) == 3 && words[0] == "close" {
		fmt.Sscan(words[1], &code)
		return code, words[2], false
	}
	return 0, "", string(message) == "drop"
}

func serveGorilla(writer http.ResponseWriter, request *http.Request) {
	upgrader := gorilla.Upgrader{Subprotocols: []string{"second.example"}, EnableCompression: true}
	c, err := upgrader.Upgrade(writer, request, nil)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetReadLimit(longest)
	for {
		kind, message, err := c.ReadMessage()
		if err != nil {
			return
		}
		code, reason, drop := order(message)
		switch {
		case drop:
			return
		case code != 0:
			c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, reason))
			c.ReadMessage()
			return
		}
		if c.WriteMessage(kind, message) != nil {
			return
		}
	}
}

func serveCoder(writer http.ResponseWriter, request *http.Request) {
	options := &coder.AcceptOptions{
		Subprotocols:       []string{"second.example"},
		CompressionMode:    coder.CompressionContextTakeover,
		InsecureSkipVerify: true,
	}
	c, err := coder.Accept(writer, request, options)
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(longest)
	for {
		kind, message, err := c.Read(context.Background())
		if err != nil {
			return
		}
		code, reason, drop := order(message)
		switch {
		case drop:
			return
		case code != 0:
			c.Close(coder.StatusCode(code), reason)
			return
		}
		if c.Write(context.Background(), kind, message) != nil {
			return
		}
	}
}
