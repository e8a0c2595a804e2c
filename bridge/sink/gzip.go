package sink

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// packer compresses requests, as long as the sink has not shown that it does not understand them.
type packer struct {
	// proven: the sink has taken a compressed request, so that a refusal is about what is in it. plain: it takes none.
	proven, plain atomic.Bool
	pool          sync.Pool
}

// packed is a compressed body and what has made it, to be used again.
type packed struct {
	body   bytes.Buffer
	writer *gzip.Writer
}

func (p *packer) pack(body []byte) (*packed, error) {
	out, ok := p.pool.Get().(*packed)
	if !ok {
		out = &packed{}
		// Audit events are so alike that the fastest level saves nearly as much as the best.
		out.writer, _ = gzip.NewWriterLevel(&out.body, gzip.BestSpeed) // the level is a valid one
	}
	out.body.Reset()
	out.writer.Reset(&out.body)
	if _, err := out.writer.Write(body); err != nil {
		return nil, fmt.Errorf("compress events: %w", err)
	}
	if err := out.writer.Close(); err != nil {
		return nil, fmt.Errorf("compress events: %w", err)
	}
	return out, nil
}

// misunderstood are answers of a sink that may not know what gzip is: it says so, or has tried to read the compressed bytes.
func misunderstood(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal) && slices.Contains([]int{
		http.StatusBadRequest, http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusInternalServerError,
		http.StatusNotImplemented,
	}, refusal.Status)
}

// postPacked posts compressed. A sink that has never taken such a request and does not seem to understand it gets the same as it is: were the
// refusal believed, events would be buried for nothing.
func (s *Sink) postPacked(ctx context.Context, body []byte) error {
	small, err := s.packer.pack(body)
	if err != nil {
		return err
	}
	defer s.packer.pool.Put(small)
	err = s.post(ctx, small.body.Bytes(), "gzip")
	switch {
	case err == nil:
		s.packer.proven.Store(true)
		return nil
	case s.packer.proven.Load() || !misunderstood(err):
		return err
	}
	if err := s.post(ctx, body, ""); err != nil {
		return err
	}
	if !s.packer.plain.Swap(true) {
		s.config.Warn("The sink takes what is not compressed, and nothing else; bridge.gzip has no effect", err)
	}
	return nil
}
