package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchy is a mounted cgroup hierarchy of the machine.
type hierarchy struct {
	// dir is where it is mounted.
	dir string
	// unified is whether it is of cgroup version 2.
	unified bool
	// options are the mount options that name it: controllers, or name=…; empty for version 2.
	options string
}

// hierarchies lists what is mounted at /sys/fs/cgroup and below.
func hierarchies() ([]hierarchy, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	found := parseHierarchies(string(data))
	if len(found) == 0 {
		return nil, errors.New("list cgroup hierarchies: none is mounted below /sys/fs/cgroup")
	}
	return found, nil
}

// parseHierarchies reads the cgroup mounts of a mountinfo file (proc_pid_mountinfo(5)).
func parseHierarchies(mountinfo string) []hierarchy {
	var found []hierarchy
	lines := bufio.NewScanner(strings.NewReader(mountinfo))
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(super) < 3 || !strings.HasPrefix(fields[4], "/sys/fs/cgroup") {
			continue
		}
		switch super[0] {
		case "cgroup2":
			found = append(found, hierarchy{dir: fields[4], unified: true})
		case "cgroup":
			options := slices.DeleteFunc(strings.Split(super[2], ","), func(o string) bool {
				return slices.Contains([]string{"rw", "ro", "xattr", "clone_children"}, o) || strings.HasPrefix(o, "release_agent=")
			})
			joined := strings.Join(options, ",")
			if strings.HasPrefix(joined, "name=") {
				joined = "none," + joined
			}
			found = append(found, hierarchy{dir: fields[4], options: joined})
		}
	}
	return found
}

// group is one host's control group, of the same name in every hierarchy, with all processes of the host in it or below.
type group struct {
	name  string
	trees []hierarchy
}

func (l *Lab) group(name string) group { return group{name: l.groupPrefix() + name, trees: l.trees} }

// groupPrefix begins the name of every control group of this lab.
func (l *Lab) groupPrefix() string { return "lab-" + l.opts.Bridge + "-" }

func (g group) dirs() []string {
	var dirs []string
	for _, tree := range g.trees {
		dirs = append(dirs, filepath.Join(tree.dir, g.name))
	}
	return dirs
}

// In version 2 a group that hands controllers down holds no process itself: the host's own root is then this group below
// the one of its name, and what waits for the host outside of it sits in the other.
const (
	hostGroup   = "host"
	waiterGroup = "waiter"
)

// joins lists the folders of the groups that a host's first process joins: the roots of its cgroup namespace.
func (g group) joins() []string {
	dirs := g.dirs()
	for i, tree := range g.trees {
		if tree.unified {
			dirs[i] = filepath.Join(dirs[i], hostGroup)
		}
	}
	return dirs
}

// setAside moves the processes that are not in a PID namespace of their own out of the host's root group.
func (g group) setAside() error {
	for _, tree := range g.trees {
		if !tree.unified {
			continue
		}
		for _, id := range g.processes() {
			if len(namespaceIDs(id)) != 1 {
				continue
			}
			file := filepath.Join(tree.dir, g.name, waiterGroup, "cgroup.procs")
			err := os.WriteFile(file, []byte(strconv.Itoa(id)), 0)
			if err != nil {
				return fmt.Errorf("set process aside: %w", err)
			}
		}
	}
	return nil
}

// handDown lets the groups below the folder use the controllers. What is not there or not allowed is then missed by the
// kubelet, which says so.
func handDown(dir string) {
	for _, controller := range []string{"cpuset", "cpu", "io", "memory", "pids", "hugetlb"} {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
	}
}

// create makes the group in every hierarchy.
func (g group) create() error {
	for _, tree := range g.trees {
		dir := filepath.Join(tree.dir, g.name)
		below := []string{dir}
		if tree.unified {
			below = append(below, filepath.Join(dir, hostGroup), filepath.Join(dir, waiterGroup))
		}
		for _, path := range below {
			err := os.MkdirAll(path, 0o755)
			if err != nil {
				return fmt.Errorf("make control group: %w", err)
			}
		}
		if tree.unified {
			handDown(tree.dir)
			handDown(dir)
		}
		if strings.Contains(tree.options, "cpuset") { // version 1 begins with empty sets, and takes no process then
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				value, err := os.ReadFile(filepath.Join(tree.dir, file))
				if err != nil {
					return fmt.Errorf("read cpuset: %w", err)
				}
				err = os.WriteFile(filepath.Join(dir, file), value, 0)
				if err != nil {
					return fmt.Errorf("write cpuset: %w", err)
				}
			}
		}
	}
	return nil
}

// processes lists the ids of all processes in the group and below.
func (g group) processes() []int {
	var ids []int
	for _, dir := range g.dirs() {
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // a group may go while it is looked at
			}
			if entry.Name() != "cgroup.procs" {
				return nil
			}
			data, _ := os.ReadFile(path)
			for field := range strings.FieldsSeq(string(data)) {
				id, err := strconv.Atoi(field)
				if err == nil && id > 0 {
					ids = append(ids, id)
				}
			}
			return nil
		})
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// destroy kills every process of the group and removes it from every hierarchy. A group that is not there is fine. A
// process may just be about to join: killing and removing go on together until there is no group to be joined.
func (g group) destroy() error {
	var err error
	for range 300 {
		for _, id := range g.processes() {
			_ = syscall.Kill(id, syscall.SIGKILL)
		}
		err = g.remove()
		if err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%w; processes after SIGKILL: %v", err, g.processes())
}

// remove removes the group's folders, the deepest first.
func (g group) remove() error {
	for _, dir := range g.dirs() {
		var below []string
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				below = append(below, path)
			}
			return nil
		})
		for _, path := range slices.Backward(below) {
			err := syscall.Rmdir(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove control group %q: %w", path, err)
			}
		}
	}
	return nil
}

// leftGroups lists the folders of this lab's control groups.
func (l *Lab) leftGroups() []string {
	var found []string
	for _, tree := range l.trees {
		dirs, _ := filepath.Glob(filepath.Join(tree.dir, l.groupPrefix()+"*"))
		found = append(found, dirs...)
	}
	return found
}
