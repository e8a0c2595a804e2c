package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

const (
	// chunk is how much is read at once.
	chunk = 256 << 10
	// DefaultLineLimit is how long a line may be. An apiserver that logs what lists return writes long ones.
	DefaultLineLimit = 8 << 20
	// poll is how often a file is looked at that does not grow, and how often its directory is while it does.
	poll = 50 * time.Millisecond
)

// Options of a follower.
type Options struct {
	Host *hostfs.FS
	// Path is the log's, on the host.
	Path string
	// From is what is read where there is no checkpoint yet.
	From Beginning
	// LineLimit is the longest line, in bytes.
	LineLimit int
	Delivery  *delivery.Delivery
	Keeper    *checkpoint.Keeper
	Metrics   *metrics.Metrics
	Log       *slog.Logger
}

// Follow reads the log until the context ends, which is its only error.
func Follow(ctx context.Context, o Options) error {
	f := &follower{o: o, dir: directory{host: o.Host, name: o.Path, log: o.Log}, lines: lines{limit: o.LineLimit}}
	f.pipe = o.Delivery.NewPipe(func(b *delivery.Batch) { o.Keeper.Advance(b.Position, b.Len()) })
	saving, saved := context.WithCancel(context.WithoutCancel(ctx))
	keeper, pipe := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(keeper)
		o.Keeper.Run(saving)
	}()
	go func() {
		defer close(pipe)
		_ = f.pipe.Run(ctx) // ends with the context
	}()
	err := f.run(ctx)
	<-pipe
	saved()
	<-keeper
	return err
}

// follower reads one log.
type follower struct {
	o     Options
	dir   directory
	pipe  *delivery.Pipe
	lines lines
	// position is where to go on when the current file is left; while one is open, see here.
	position Position

	current *reading
	// offset is behind the last line taken from the current file.
	offset int64
	// rotated: the log's path leads elsewhere, and the current file was at its end since.
	rotated bool
	// expected is the file behind the current one, once it has been seen with certainty.
	expected *sighting
	looked   time.Time

	batch *delivery.Batch
	// troubled keeps an error that lasts from being said each time.
	troubled string
}

// here is the position behind the last line taken.
func (f *follower) here() Position {
	if f.current == nil {
		return f.position
	}
	return f.position.at(f.current.head, f.offset)
}

func (f *follower) run(ctx context.Context) error {
	defer func() {
		if f.current != nil {
			f.current.close()
		}
	}()
	if err := f.start(ctx); err != nil {
		return err
	}
	for {
		idle, err := f.step(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.trouble(err)
		if !idle && err == nil {
			continue
		}
		pause := poll
		if f.batch != nil && f.batch.Read() > 0 {
			pause = min(pause, f.batch.Due())
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		if err := f.flush(ctx); err != nil {
			return err
		}
	}
}

// start finds where to begin. A checkpoint that cannot be read costs repetitions, and no events.
func (f *follower) start(ctx context.Context) error {
	found, err := f.o.Keeper.Load(&f.position)
	for err != nil && !errors.Is(err, checkpoint.ErrUnreadable) {
		f.trouble(err)
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
		found, err = f.o.Keeper.Load(&f.position)
	}
	if found {
		f.o.Log.Info("Goes on where it was", "path", f.o.Path, "offset", f.position.Offset)
		return nil
	}
	from := f.o.From
	if err != nil {
		from = FromOldest
		f.o.Log.Error("Checkpoint is spoilt: everything that is there comes again", "path", f.o.Path, "error", err)
	}
	for {
		seen, err := f.dir.look()
		f.trouble(err)
		if err == nil {
			f.position = from.first(seen)
			f.o.Keeper.Advance(f.position, 0)
			return nil
		}
		if err := sleep(ctx, poll); err != nil {
			return err
		}
	}
}

// step reads a little. It reports true where there was nothing to read.
func (f *follower) step(ctx context.Context) (idle bool, err error) {
	if f.current == nil {
		if opened, err := f.next(); !opened {
			return true, err
		}
	}
	if time.Since(f.looked) >= poll {
		if err := f.look(); err != nil {
			return true, err
		}
	}
	n, err := f.current.read(f.lines.room())
	if errors.Is(err, errReplaced) {
		f.o.Log.Info("Log was emptied or replaced in place", "path", f.current.name)
		f.position = f.here()
		f.leave()
		return false, nil
	}
	if err != nil && f.current.unzip != nil {
		f.gap("A compressed log cannot be read to its end", f.current.name, err)
		return false, f.finish(ctx)
	}
	if err != nil {
		return true, err
	}
	if n > 0 {
		f.rotated = false
		return false, f.lines.read(n, func(line []byte, size int64) error { return f.take(ctx, line, size) })
	}
	if f.current.unzip != nil || f.rotated {
		return false, f.finish(ctx)
	}
	// Looks anew, and reads once more before the file is left: until its successor was there, it may have grown.
	if err := f.look(); err != nil {
		return true, err
	}
	return !f.rotated, nil
}

// next opens what follows the position. It reports false where there is nothing yet.
func (f *follower) next() (bool, error) {
	seen, err := f.dir.look()
	if err != nil {
		return false, err
	}
	f.position = f.position.among(seen)
	chosen, found, gap := f.position.choose(seen)
	if gap {
		f.gap("A log was deleted or emptied before it was read to its end, or may have been", f.o.Path, nil)
		f.position = Position{Done: f.position.Done}
	}
	if !found {
		return false, nil
	}
	r, err := open(f.o.Host, chosen)
	if err != nil && chosen.file.zipped && !errors.Is(err, errReplaced) {
		f.gap("A compressed log cannot be read to where it was read before", chosen.file.name, err)
		f.position = f.position.finished(chosen.file.head)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f.o.Log.Debug("Reads", "file", r.name, "offset", chosen.offset)
	f.current, f.offset, f.rotated, f.expected = r, chosen.offset, false, nil
	return true, nil
}

// look finds out whether the log was rotated, and what follows the file that is being read.
func (f *follower) look() error {
	f.looked = time.Now()
	id, there := f.dir.identify()
	if there && id == f.current.id {
		return nil
	}
	seen, err := f.dir.look()
	if err != nil {
		return err
	}
	next, found, certain := successor(f.position, f.current.id, f.current.head, seen)
	if !found {
		return nil
	}
	f.rotated = true
	if certain && f.expected == nil {
		f.expected = &next
	}
	return nil
}

// finish leaves a file that has been read to its end and goes to the next. A last line without an end is whole or never will be.
func (f *follower) finish(ctx context.Context) error {
	if line, size := f.lines.forget(); size > 0 {
		if err := f.take(ctx, line, size); err != nil {
			return err
		}
	}
	_, _, linked, err := stat(f.current.file)
	expected, certain := f.expected, err == nil && linked && f.expected == nil || f.current.unzip != nil
	f.position = f.position.finished(f.current.head)
	f.leave()
	if !certain && f.skipped(expected) {
		f.gap("The log was rotated so often that files may have been deleted unread", f.o.Path, nil)
	}
	return nil
}

// skipped reports whether what is there to be read next is not, or may not be, what followed the file just finished.
func (f *follower) skipped(expected *sighting) bool {
	seen, err := f.dir.look()
	if err != nil {
		return false // it is said when the next file is opened
	}
	next, found, _ := f.position.choose(seen)
	return found && (expected == nil || !bytes.HasPrefix(next.file.head, expected.head))
}

// leave closes the current file; the position says what is next.
func (f *follower) leave() {
	f.current.close()
	f.current, f.rotated, f.expected = nil, false, nil
	f.lines.forget()
}

// take puts a line's event into the batch.
func (f *follower) take(ctx context.Context, line []byte, size int64) error {
	at := f.offset + size
	if line == nil {
		f.lost(metrics.LostTooLong, at, size)
	} else {
		e, found, broken := parse(line)
		if broken {
			f.lost(metrics.LostBroken, at, size)
		}
		if found {
			if err := f.fresh(ctx, len(e.Raw())); err != nil {
				return err
			}
			f.batch.Add(e)
		}
	}
	f.offset = at
	if f.batch != nil && f.batch.Read() > 0 && f.batch.Due() <= 0 {
		return f.flush(ctx)
	}
	return nil
}

// fresh makes sure of a batch that an event of that size fits into.
func (f *follower) fresh(ctx context.Context, size int) error {
	if f.batch != nil && !f.batch.Fits(size) {
		if err := f.submit(ctx); err != nil {
			return err
		}
	}
	if f.batch == nil {
		var err error
		if f.batch, err = f.pipe.Fresh(ctx); err != nil {
			return fmt.Errorf("wait for the sink: %w", err)
		}
	}
	return nil
}

// flush submits the batch if it has waited long enough.
func (f *follower) flush(ctx context.Context) error {
	if f.batch == nil || f.batch.Read() == 0 || f.batch.Due() > 0 {
		return nil
	}
	return f.submit(ctx)
}

func (f *follower) submit(ctx context.Context) error {
	f.batch.Position = f.here()
	if err := f.pipe.Submit(ctx, f.batch); err != nil {
		return fmt.Errorf("wait for the sink: %w", err)
	}
	f.batch = nil
	return nil
}

func (f *follower) lost(why string, at, size int64) {
	f.o.Metrics.Lost.WithLabelValues(why).Inc()
	f.o.Log.Error("A line is no audit event and is left out", "path", f.current.name, "reason", why, "ends", at, "bytes", size)
}

func (f *follower) gap(what, name string, err error) {
	f.o.Metrics.Lost.WithLabelValues(metrics.LostGap).Inc()
	f.o.Log.Error(what, "path", name, "error", err)
}

// trouble says an error when it begins, and when it has gone.
func (f *follower) trouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch text {
	case f.troubled:
	case "":
		f.o.Log.Info("Log can be read again", "path", f.o.Path)
	default:
		f.o.Log.Error("Log cannot be read; tries again", "path", f.o.Path, "error", text)
	}
	f.troubled = text
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
