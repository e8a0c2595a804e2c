package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

// cluster is as much of k0s' ClusterConfig as a scenario may set.
type cluster struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		API struct {
			Address   string            `json:"address"`
			Port      int               `json:"port"`
			SANs      []string          `json:"sans"`
			ExtraArgs map[string]string `json:"extraArgs"`
		} `json:"api"`
		Storage struct {
			Type string `json:"type"`
		} `json:"storage"`
	} `json:"spec"`
}

// readCluster reads the apiserver's flags out of a ClusterConfig.
func readCluster(name string) ([]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var c cluster
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if c.APIVersion != "k0s.k0sproject.io/v1beta1" || c.Kind != "ClusterConfig" {
		return nil, fmt.Errorf("read %s: it is a %s of %s", name, c.Kind, c.APIVersion)
	}
	return spoil(slices.Sorted(maps.Keys(c.Spec.API.ExtraArgs)), c.Spec.API.ExtraArgs)
}

// supervise starts the apiserver as its user, and again whenever it ends.
func supervise(ctx context.Context, flags []string) error {
	u, err := user.Lookup("kube-apiserver")
	if err != nil {
		return fmt.Errorf("find the apiserver's user: %w", err)
	}
	uid, errUser := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGroup := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(errUser, errGroup); err != nil {
		return fmt.Errorf("find the apiserver's user: %w", err)
	}
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, apiserver, flags...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		fmt.Fprintln(os.Stderr, "k0s (a stand-in): apiserver ended:", cmd.Run())
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
	return nil
}
