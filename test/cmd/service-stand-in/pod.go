package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// manifest is where the lab's kubelet looks, and template beside the configuration holds all but the arguments.
const (
	manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	template = "stand-in-template.yaml"
)

// writePod writes the apiserver's manifest anew and waits for the end.
func writePod(ctx context.Context, dir string, flags []string) error {
	text, err := os.ReadFile(filepath.Join(dir, template))
	if err != nil {
		return fmt.Errorf("read template: %w", err)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(text, &pod); err != nil {
		return fmt.Errorf("read template: %w", err)
	}
	c := &pod.Spec.Containers[0]
	c.Command, c.Args = append([]string{"kube-apiserver"}, flags...), nil
	hash := sha256.New()
	for i, flag := range flags {
		name, value, _ := strings.Cut(flag, "=")
		if name == "--audit-log-path" {
			mount(&pod, fmt.Sprintf("dir-%d", i), filepath.Dir(value), corev1.HostPathDirectoryOrCreate, false)
			continue
		}
		info, err := os.Stat(value)
		if !filepath.IsAbs(value) || err != nil || !info.Mode().IsRegular() || mounted(&pod, value) {
			continue
		}
		content, err := os.ReadFile(value)
		if err != nil {
			return fmt.Errorf("read a file that --%s names: %w", name, err)
		}
		hash.Write(content)
		mount(&pod, fmt.Sprintf("file-%d", i), value, corev1.HostPathFile, true)
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: "FILE_HASH", Value: hex.EncodeToString(hash.Sum(nil))})
	if text, err = yaml.Marshal(pod); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := os.Remove(manifest); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove manifest: %w", err)
	}
	if err := os.WriteFile(manifest, text, 0o600); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	<-ctx.Done()
	return nil
}

func mounted(pod *corev1.Pod, file string) bool {
	for _, m := range pod.Spec.Containers[0].VolumeMounts {
		if file == m.MountPath || strings.HasPrefix(file, m.MountPath+"/") {
			return true
		}
	}
	return false
}

func mount(pod *corev1.Pod, name, path string, kind corev1.HostPathType, readOnly bool) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}},
	})
	c := &pod.Spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path, ReadOnly: readOnly})
}
