//go:build linux

package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// etcdClient is a client of etcd's with a certificate. It speaks gRPC (grpc/grpc, doc/PROTOCOL-HTTP2.md) itself: etcd's JSON gateway
// knows nobody by his certificate, and gRPC's library would make this program several times as large.
type etcdClient struct {
	urls []string // of members; they are asked one after the other until one answers
	http http.Client
}

// newEtcdClient takes the certificate from a directory: ca.crt, tls.crt, tls.key.
func newEtcdClient(urls []string, dir string) (*etcdClient, error) {
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &etcdClient{urls, http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}}}, nil
}

// call calls a method with a message and returns the answer's: that of the first member that can give one.
func (c *etcdClient) call(method string, request message) (reply message, err error) {
	var first error
	for _, url := range c.urls {
		reply, err = c.callAt(url, method, request)
		if !errors.Is(err, errUnavailable) {
			return reply, err
		}
		first = cmp.Or(first, err)
	}
	return nil, first
}

// errUnavailable is an error of one member, where another may answer.
var errUnavailable = errors.New("the member can't answer")

// unavailable marks an error as that.
type unavailable struct{ error }

func (unavailable) Is(target error) bool { return target == errUnavailable }

// post sends a request of gRPC to a member.
func (c *etcdClient) post(url, method string, request message) (*http.Response, error) {
	framed := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))) // not compressed, and how long
	r, err := http.NewRequest(http.MethodPost, url+"/etcdserverpb."+method, bytes.NewReader(append(framed, request...)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	res, err := c.http.Do(r)
	if err != nil {
		return nil, unavailable{fmt.Errorf("etcd doesn't answer at %s: %w", url, reason(err))}
	}
	return res, nil
}

func (c *etcdClient) callAt(url, method string, request message) (message, error) {
	res, err := c.post(url, method, request)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, unavailable{fmt.Errorf("etcd's answer to %s: %w", method, err)}
	}
	if err := grpcStatus(res, method); err != nil {
		return nil, err
	}
	const header = 5
	if len(body) < header || int(binary.BigEndian.Uint32(body[1:header])) != len(body)-header {
		return nil, fmt.Errorf("etcd's answer to %s is not whole", method)
	}
	return body[header:], nil
}

// grpcStatus is the error of an answer whose body was read.
func grpcStatus(res *http.Response, method string) error {
	const unavailableStatus = "14"
	status, said := res.Trailer.Get("Grpc-Status"), res.Trailer.Get("Grpc-Message")
	if status == "" { // where there is no answer, they come at once
		status, said = res.Header.Get("Grpc-Status"), res.Header.Get("Grpc-Message")
	}
	if status != "0" {
		if text, err := url.PathUnescape(said); err == nil {
			said = text
		}
		err := fmt.Errorf("etcd's answer to %s: %s (status %s of gRPC, %s)", method, said, status, res.Status)
		if status == unavailableStatus || strings.Contains(said, "not supported for learner") { // it has no leader, or no vote
			return unavailable{err}
		}
		return err
	}
	return nil
}

// reason is an error of http's without the request.
func reason(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// message is one of protobuf's (https://protobuf.dev/programming-guides/encoding/), as far as etcd's need it: varints, and fields that
// have a length.
type message []byte

func (m message) bytes(field int, value []byte) message {
	m = binary.AppendUvarint(m, uint64(field)<<3|2)
	return append(binary.AppendUvarint(m, uint64(len(value))), value...)
}

func (m message) text(field int, value string) message { return m.bytes(field, []byte(value)) }

func (m message) number(field int, value uint64) message {
	return binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3), value)
}

// fields calls f for each field: with its number or with its bytes.
func (m message) fields(f func(field int, number uint64, value message)) error {
	for len(m) > 0 {
		key, n := binary.Uvarint(m)
		if n <= 0 {
			return errMessage
		}
		m = m[n:]
		number, n := binary.Uvarint(m)
		if n <= 0 {
			return errMessage
		}
		m = m[n:]
		switch key & 7 {
		case 0:
			f(int(key>>3), number, nil)
		case 2:
			if number > uint64(len(m)) {
				return errMessage
			}
			f(int(key>>3), 0, m[:number])
			m = m[number:]
		default:
			return errMessage
		}
	}
	return nil
}

var errMessage = errors.New("etcd's answer is no message of protobuf's")

// etcd asks etcd how it is.
func etcd(e *fact.Etcd) fact.Seen[fact.Health] {
	c, err := newEtcdClient(e.URLs()[:1], e.Health)
	if err != nil {
		return fact.Known(fact.Health{Said: "nobody can ask: " + err.Error()})
	}
	defer c.http.CloseIdleConnections()
	res, err := c.http.Get(e.URL + "/health")
	if err != nil {
		return fact.Known(fact.Health{Said: fmt.Sprintf("nothing answers at %s: %v", e.URL, reason(err))})
	}
	defer res.Body.Close()
	var h struct{ Health, Reason string }
	if err := json.NewDecoder(res.Body).Decode(&h); err != nil {
		return fact.Known(fact.Health{Said: fmt.Sprintf("%s/health: %v", e.URL, err)})
	}
	var v struct{ Etcdserver string }
	if err := getJSON(&c.http, e.URL+"/version", &v); err != nil {
		return fact.Known(fact.Health{Said: err.Error()})
	}
	return fact.Known(fact.Health{OK: h.Health == "true", Said: strings.TrimSpace("healthy: " + h.Health + " " + h.Reason), Version: v.Etcdserver})
}

// datastore reads everything below /calico/ in one request.
func datastore(e *fact.Etcd) fact.Seen[[]fact.KeyValue] {
	c, err := newEtcdClient(e.URLs(), e.Admin)
	if err != nil {
		return fact.Unknown[[]fact.KeyValue](err.Error())
	}
	defer c.http.CloseIdleConnections()
	return fact.See(c.all("/calico/", "/calico0")) // '0' is '/' + 1
}

// all are the entries from one key to another.
func (c *etcdClient) all(from, to string) ([]fact.KeyValue, error) {
	reply, err := c.call("KV/Range", message{}.text(1, from).text(2, to))
	if err != nil {
		return nil, err
	}
	all := []fact.KeyValue{}
	var broken error
	err = reply.fields(func(field int, _ uint64, value message) {
		if field == 2 {
			var kv fact.KeyValue
			err := value.fields(func(field int, _ uint64, value message) {
				switch field {
				case 1:
					kv.Key = string(value)
				case 5:
					kv.Value = bytes.Clone(value)
				}
			})
			broken = errors.Join(broken, err)
			all = append(all, kv)
		}
	})
	return all, errors.Join(err, broken)
}

// write changes entries in one transaction.
func (c *etcdClient) write(ops []fact.Op) error {
	var txn message
	for _, op := range ops {
		if op.Delete {
			txn = txn.bytes(2, message{}.bytes(3, message{}.text(1, op.Key)))
		} else {
			txn = txn.bytes(2, message{}.bytes(2, message{}.text(1, op.Key).bytes(2, op.Value)))
		}
	}
	_, err := c.call("KV/Txn", txn)
	return err
}
