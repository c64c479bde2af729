//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// snapshotTime is how long a member may take to send its database.
const snapshotTime = 50 * time.Second

// snapshot asks the members for etcd's database, one after the other. What a member has is whole, whoever leads.
func snapshot(e fact.Etcd) (s fact.Snapshot, err error) {
	c, err := newEtcdClient(e.URLs(), e.Admin)
	if err != nil {
		return s, err
	}
	c.http.Timeout = snapshotTime
	for _, url := range c.urls {
		if s.Data, err = c.snapshotOf(url); !errors.Is(err, errUnavailable) {
			return s, err
		}
	}
	return s, err
}

// snapshotOf reads a stream of messages, each a piece of the database.
func (c *etcdClient) snapshotOf(url string) (data []byte, err error) {
	const method = "Maintenance/Snapshot"
	res, err := c.post(url, method, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var header [5]byte
	for {
		_, err := io.ReadFull(res.Body, header[:])
		if errors.Is(err, io.EOF) {
			return data, grpcStatus(res, method)
		}
		if err != nil {
			return nil, unavailable{fmt.Errorf("etcd's answer to %s: %w", method, err)}
		}
		piece := make(message, binary.BigEndian.Uint32(header[1:]))
		if _, err := io.ReadFull(res.Body, piece); err != nil {
			return nil, unavailable{fmt.Errorf("etcd's answer to %s: %w", method, err)}
		}
		const blob = 3
		err = piece.fields(func(field int, _ uint64, value message) {
			if field == blob {
				data = append(data, value...)
			}
		})
		if err != nil {
			return nil, err
		}
	}
}
