package docker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Container is what the Engine tells of one. Config and HostConfig are as the Engine wrote them, so that another container can be made
// from them.
type Container struct {
	ID           string                     `json:"Id"`
	Name         string                     `json:"Name"`
	Image        string                     `json:"Image"`
	RestartCount int                        `json:"RestartCount"`
	State        State                      `json:"State"`
	Config       map[string]json.RawMessage `json:"Config"`
	HostConfig   map[string]json.RawMessage `json:"HostConfig"`
}

// State is how a container fares.
type State struct {
	Running    bool      `json:"Running"`
	Restarting bool      `json:"Restarting"`
	StartedAt  time.Time `json:"StartedAt"`
}

// Up reports whether its process runs. The Engine says so of one that waits to be started again, too.
func (s State) Up() bool { return s.Running && !s.Restarting }

// Started reports whether its process has run at least once.
func (s State) Started() bool { return s.StartedAt.Year() > 1 }

// Labels are those of its configuration.
func (c *Container) Labels() map[string]string {
	labels := map[string]string{}
	if json.Unmarshal(c.Config["Labels"], &labels) != nil {
		return nil
	}
	return labels
}

// Inspect describes a container by its name or ID.
func (c *Client) Inspect(ctx context.Context, name string) (*Container, error) {
	var found Container
	err := c.call(ctx, http.MethodGet, "/containers/"+name+"/json", nil, nil, &found)
	if err != nil {
		if !errors.Is(err, ErrNotFound) {
			c.forget()
		}
		return nil, fmt.Errorf("look at container %s: %w", name, err)
	}
	return &found, nil
}

// ImageID is the content that an image's name stands for now.
func (c *Client) ImageID(ctx context.Context, name string) (string, error) {
	var image struct {
		ID string `json:"Id"`
	}
	if err := c.call(ctx, http.MethodGet, "/images/"+name+"/json", nil, nil, &image); err != nil {
		return "", fmt.Errorf("look at image %s: %w", name, err)
	}
	return image.ID, nil
}

// Create makes a container and does not start it.
func (c *Client) Create(ctx context.Context, name string, config, host map[string]json.RawMessage) error {
	body := map[string]any{"HostConfig": host}
	for key, value := range config {
		body[key] = value
	}
	if err := c.call(ctx, http.MethodPost, "/containers/create", url.Values{"name": {name}}, body, nil); err != nil {
		return fmt.Errorf("create container %s: %w", name, err)
	}
	return nil
}

// Start starts a container. One that runs stays as it is.
func (c *Client) Start(ctx context.Context, id string) error {
	if err := c.call(ctx, http.MethodPost, "/containers/"+id+"/start", nil, nil, nil); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	return nil
}

// Stop ends a container, and returns once it has ended.
func (c *Client) Stop(ctx context.Context, id string) error {
	grace := url.Values{"t": {strconv.Itoa(int(StopGrace / time.Second))}}
	if err := c.call(ctx, http.MethodPost, "/containers/"+id+"/stop", grace, nil, nil); err != nil {
		return fmt.Errorf("stop container %s: %w", id, err)
	}
	return nil
}

// Rename gives a container another name.
func (c *Client) Rename(ctx context.Context, id, name string) error {
	if err := c.call(ctx, http.MethodPost, "/containers/"+id+"/rename", url.Values{"name": {name}}, nil, nil); err != nil {
		return fmt.Errorf("rename container %s to %s: %w", id, name, err)
	}
	return nil
}

// Remove removes a container that does not run. Its volumes stay: they may be another one's.
func (c *Client) Remove(ctx context.Context, id string) error {
	if err := c.call(ctx, http.MethodDelete, "/containers/"+id, nil, nil, nil); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

// LogTail returns the last lines that a container has written.
func (c *Client) LogTail(ctx context.Context, id string, lines int) ([]string, error) {
	query := url.Values{"stdout": {"1"}, "stderr": {"1"}, "tail": {strconv.Itoa(lines)}}
	answer, err := c.send(ctx, http.MethodGet, "/containers/"+id+"/logs", query, nil)
	if err != nil {
		return nil, fmt.Errorf("read log of container %s: %w", id, err)
	}
	defer func() { _ = answer.Close() }()
	text, err := unframed(io.LimitReader(answer, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read log of container %s: %w", id, err)
	}
	if text = strings.TrimRight(text, "\n"); text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// unframed joins a container's two outputs. In a log that is not a terminal's, each piece has a header of eight bytes: the output,
// three zeros, and the length (Docker Engine API, "attach to a container").
func unframed(from io.Reader) (string, error) {
	var text strings.Builder
	for {
		var header [8]byte
		_, err := io.ReadFull(from, header[:])
		if err == nil {
			_, err = io.CopyN(&text, from, int64(binary.BigEndian.Uint32(header[4:])))
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // the end, or cut off at the limit
			return text.String(), nil
		case err != nil:
			return "", err
		}
	}
}
