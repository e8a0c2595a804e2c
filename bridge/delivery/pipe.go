package delivery

import "context"

// Pipe lets a source fill one batch while another is in flight. There are two batches in all, so that a slow sink slows the source.
type Pipe struct {
	delivery *Delivery
	settled  func(b *Batch)
	free     chan *Batch
	full     chan *Batch
}

// NewPipe makes a pipe. settled is called for each batch, in order, once it is.
func (d *Delivery) NewPipe(settled func(b *Batch)) *Pipe {
	p := &Pipe{delivery: d, settled: settled, free: make(chan *Batch, 2), full: make(chan *Batch)}
	p.free <- d.NewBatch()
	p.free <- d.NewBatch()
	return p
}

// Run delivers until the context ends.
func (p *Pipe) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b := <-p.full:
			if err := p.delivery.Deliver(ctx, b); err != nil {
				return err
			}
			p.settled(b)
			b.Reset()
			p.free <- b
		}
	}
}

// Fresh is an empty batch. It waits until there is one.
func (p *Pipe) Fresh(ctx context.Context) (*Batch, error) {
	select {
	case b := <-p.free:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Submit hands a batch over. It waits until the one before is settled.
func (p *Pipe) Submit(ctx context.Context, b *Batch) error {
	p.delivery.o.Metrics.In.WithLabelValues(p.delivery.o.Source).Add(float64(b.Read()))
	select {
	case p.full <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
