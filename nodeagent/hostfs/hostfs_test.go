package hostfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/hostfs/hostfstest"
)

// host makes a root with files by path; a value that begins with "->" is a link.
func host(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "host")
	for name, content := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(target, name)
		} else {
			err = os.WriteFile(name, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestPathsStayInTheRoot(t *testing.T) {
	t.Parallel()
	root := host(t, map[string]string{
		"etc/file":       "inside",
		"srv/m/file":     "manifest",
		"etc/manifests":  "->/srv/m",
		"etc/relative":   "->../srv/m",
		"etc/up":         "->../../../../../../srv",
		"etc/outside":    "->/../../../outside",
		"etc/loop":       "->loop",
		"etc/chain":      "->/etc/manifests/link",
		"srv/m/link":     "->file",
		"etc/dangling":   "->/etc/new",
		"etc/dots":       "->/srv/m/..",
		"etc/self":       "->.",
		"etc/trailing":   "->/srv/m/",
		"deep/a/b/c/top": "->../../../../etc/file",
	})
	if err := os.WriteFile(filepath.Join(filepath.Dir(root), "outside"), []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := hostfs.New(root)
	for name, tc := range map[string]struct {
		path, resolved, content string
		err                     error
	}{
		"a plain path":                            {"/etc/file", "/etc/file", "inside", nil},
		"repeated and useless components":         {"//etc/./file", "/etc/file", "inside", nil},
		"an absolute link starts at the root":     {"/etc/manifests/file", "/srv/m/file", "manifest", nil},
		"a relative link":                         {"/etc/relative/file", "/srv/m/file", "manifest", nil},
		"a link with more .. than there are":      {"/etc/up/m/file", "/srv/m/file", "manifest", nil},
		"more .. than there are":                  {"/../../etc/../etc/file", "/etc/file", "inside", nil},
		"a link to what is outside finds nothing": {"/etc/outside", "/outside", "", fs.ErrNotExist},
		"a link to itself":                        {"/etc/loop", "", "", unix.ELOOP},
		"a link to a link":                        {"/etc/chain", "/srv/m/file", "manifest", nil},
		"a link to nothing":                       {"/etc/dangling", "/etc/new", "", fs.ErrNotExist},
		"a link that ends in ..":                  {"/etc/dots", "/srv", "", hostfs.ErrNotRegular},
		"a link to its own directory":             {"/etc/self/self/file", "/etc/file", "inside", nil},
		"a link with a slash at the end":          {"/etc/trailing/file", "/srv/m/file", "manifest", nil},
		"a deep link":                             {"/deep/a/b/c/top", "/etc/file", "inside", nil},
		"a file as a directory":                   {"/etc/file/x", "", "", unix.ENOTDIR},
		"the root":                                {"/", "/", "", hostfs.ErrNotRegular},
		"a directory":                             {"/etc", "/etc", "", hostfs.ErrNotRegular},
		"a relative path":                         {"etc/file", "", "", fs.ErrInvalid},
		"an empty path":                           {"", "", "", fs.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := f.ReadFile(tc.path, 100)
			if !errors.Is(err, tc.err) || string(data) != tc.content {
				t.Errorf("read: %q, %v", data, err)
			}
			if tc.resolved == "" {
				return
			}
			if got, err := f.Resolve(tc.path); err != nil || got != tc.resolved {
				t.Errorf("resolved to %q, %v", got, err)
			}
			if got, err := f.OSPath(tc.path); err != nil || got != filepath.Join(root, tc.resolved) {
				t.Errorf("resolved to %q, %v", got, err)
			}
		})
	}
}

func TestReadFileHasALimit(t *testing.T) {
	t.Parallel()
	root := host(t, map[string]string{"a": "12345"})
	f := hostfs.New(root)
	if data, err := f.ReadFile("/a", 5); err != nil || string(data) != "12345" {
		t.Errorf("got %q, %v", data, err)
	}
	if data, err := f.ReadFile("/a", 4); !errors.Is(err, hostfs.ErrTooLarge) || data != nil {
		t.Errorf("got %q, %v", data, err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFile("/fifo", 4); !errors.Is(err, hostfs.ErrNotRegular) {
		t.Errorf("a FIFO: %v", err)
	}
}

func TestWriteFileAtomicKeepsAttributes(t *testing.T) {
	t.Parallel()
	root := host(t, map[string]string{"m/file": "old", "link": "->/m/file"})
	name := filepath.Join(root, "m/file")
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	owner := hostfs.Owner{UID: os.Getuid(), GID: os.Getgid()}
	if os.Getuid() == 0 {
		owner = hostfs.Owner{UID: 1234, GID: 4321}
		if err := os.Chown(name, owner.UID, owner.GID); err != nil {
			t.Fatal(err)
		}
	}
	f := hostfs.New(root)
	opts, err := f.PreserveFrom("/link")
	if err != nil || opts.Mode != 0o640 || *opts.Owner != owner {
		t.Fatalf("preserved %+v, %v", opts, err)
	}
	before, err := f.Stat("/m/file")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFileAtomic("/link", []byte("new"), opts); err != nil {
		t.Fatal(err)
	}
	after, err := f.Stat("/m/file")
	if err != nil {
		t.Fatal(err)
	}
	if after.Inode == before.Inode || after.Size != 3 || after.Mode != 0o640 || after.UID != owner.UID || after.GID != owner.GID {
		t.Errorf("got %+v after %+v", after, before)
	}
	if info, err := f.Lstat("/link"); err != nil || info.Mode&fs.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %+v, %v", info, err)
	}
	infos, err := f.ReadDir("/m")
	if err != nil || len(infos) != 1 {
		t.Errorf("left in the directory: %+v, %v", infos, err)
	}
}

func TestWriteFileAtomicRefuses(t *testing.T) {
	t.Parallel()
	f := hostfs.New(host(t, map[string]string{"d/file": ""}))
	for name, tc := range map[string]struct {
		path, prefix string
		err          error
	}{
		"a temporary file that a kubelet would run": {"/d/file", "tmp", fs.ErrInvalid},
		"a prefix with a directory":                 {"/d/file", ".a/", fs.ErrInvalid},
		"a directory":                               {"/d", "", hostfs.ErrNotRegular},
		"a missing directory":                       {"/x/file", "", fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := f.WriteFileAtomic(tc.path, nil, hostfs.WriteOptions{Mode: 0o600, TempPrefix: tc.prefix}); !errors.Is(err, tc.err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// writeSteps are the steps of the write that the fault tests repeat.
var writeSteps = []string{"Create", "Chown", "Chmod", "Write", "Sync", "Rename", "Sync"}

func write(f *hostfs.FS) error {
	return f.WriteFileAtomic("/m/file", []byte("new content"), hostfs.WriteOptions{
		Mode: 0o600, Owner: &hostfs.Owner{UID: os.Getuid(), GID: os.Getgid()},
	})
}

func TestWriteFileAtomicDoesItsStepsInOrder(t *testing.T) {
	t.Parallel()
	f, faults := hostfstest.New(host(t, map[string]string{"m/file": "old"}))
	if err := write(f); err != nil {
		t.Fatal(err)
	}
	var ops []string
	for _, s := range faults.Steps() {
		ops = append(ops, s.Op)
	}
	if d := cmp.Diff(writeSteps, ops); d != "" {
		t.Error(d)
	}
}

// TestWriteFileAtomicSurvivesEveryFault lets each step fail with each error, once and for good, and crash.
func TestWriteFileAtomicSurvivesEveryFault(t *testing.T) {
	t.Parallel()
	const renamed = 6 // the step after which the new content is in place
	check := func(t *testing.T, root string, n int, leftover bool) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(root, "m/file"))
		want := "old"
		if n > renamed {
			want = "new content"
		}
		if err != nil || string(data) != want {
			t.Errorf("step %d: file has %q, %v", n, data, err)
		}
		entries, err := os.ReadDir(filepath.Join(root, "m"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "file" && (!leftover || !strings.HasPrefix(e.Name(), ".")) {
				t.Errorf("step %d: %q is left", n, e.Name())
			}
		}
	}
	for n := 1; n <= len(writeSteps); n++ {
		for _, errno := range []error{unix.EIO, unix.ENOSPC, unix.EROFS, unix.EPERM} {
			root := host(t, map[string]string{"m/file": "old"})
			f, faults := hostfstest.New(root)
			faults.FailAt(n, errno)
			err := write(f)
			if !errors.Is(err, errno) || errors.Is(err, hostfs.ErrNotDurable) != (n > renamed) {
				t.Errorf("step %d: got %v", n, err)
			}
			check(t, root, n, false)

			root = host(t, map[string]string{"m/file": "old"})
			f, faults = hostfstest.New(root)
			faults.FailFrom(n, errno)
			if err := write(f); !errors.Is(err, errno) {
				t.Errorf("from step %d: got %v", n, err)
			}
			check(t, root, n, true)
		}
		root := host(t, map[string]string{"m/file": "old"})
		f, faults := hostfstest.New(root)
		faults.CrashAt(n)
		if crash := faults.Run(func() { _ = write(f) }); crash == nil || crash.Step.Op != writeSteps[n-1] {
			t.Errorf("step %d: crash %v", n, crash)
		}
		check(t, root, n, true)

		f = hostfs.New(root)
		removed, err := f.RemoveTemps("/m/file")
		if err != nil || (len(removed) == 1) != (n > 1 && n <= renamed) {
			t.Errorf("step %d: removed %q, %v", n, removed, err)
		}
		check(t, root, n, false)
		if err := write(f); err != nil {
			t.Errorf("step %d: write after the crash: %v", n, err)
		}
	}
}

func TestWriteFileAtomicReadsBack(t *testing.T) {
	t.Parallel()
	t.Run("a short write is continued", func(t *testing.T) {
		t.Parallel()
		root := host(t, map[string]string{"m/file": "old"})
		f, faults := hostfstest.New(root)
		faults.ShortWriteAt(4)
		if err := write(f); err != nil || len(faults.Steps()) != len(writeSteps)+1 {
			t.Errorf("got %v after %v", err, faults.Steps())
		}
		if data, _ := f.ReadFile("/m/file", 100); string(data) != "new content" {
			t.Errorf("got %q", data)
		}
	})
	for name, lie := range map[string]func(fd int, p []byte, off int64) (int, error){
		"other bytes": func(fd int, p []byte, off int64) (int, error) {
			n, err := unix.Pread(fd, p, off)
			return n, errors.Join(err, func() error { copy(p[:n], bytes.Repeat([]byte("x"), n)); return nil }())
		},
		"fewer bytes": func(int, []byte, int64) (int, error) { return 0, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := host(t, map[string]string{"m/file": "old"})
			ops := hostfs.SystemOps()
			ops.ReadAt = lie
			f := hostfs.NewWithOps(root, ops)
			if err := write(f); !errors.Is(err, hostfs.ErrReadBack) {
				t.Errorf("got %v", err)
			}
			if data, _ := f.ReadFile("/m/file", 100); string(data) != "old" {
				t.Errorf("got %q", data)
			}
		})
	}
}

// TestLabelIsSetBeforeTheContent needs no SELinux: the label goes through Ops.
func TestLabelIsSetBeforeTheContent(t *testing.T) {
	t.Parallel()
	ops := hostfs.SystemOps()
	var order []string
	ops.Label = func(_ int, label string) error { order = append(order, label); return nil }
	system := ops.Write
	ops.Write = func(fd int, p []byte) (int, error) { order = append(order, "write"); return system(fd, p) }
	f := hostfs.NewWithOps(host(t, map[string]string{"file": ""}), ops)
	if err := f.WriteFileAtomic("/file", []byte("x"), hostfs.WriteOptions{Mode: 0o600, Label: "a:b:c:s0"}); err != nil {
		t.Fatal(err)
	}
	if err := f.SetLabel("/file", "d:e:f:s0"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a:b:c:s0", "write", "d:e:f:s0"}, order); d != "" {
		t.Error(d)
	}
}

func TestMkdirAll(t *testing.T) {
	t.Parallel()
	root := host(t, map[string]string{"srv/x": "", "var": "->/srv", "new": "->/srv/made"})
	f := hostfs.New(root)
	for _, dir := range []string{"/var/lib/a/b", "/new", "/srv", "/"} {
		if err := f.MkdirAll(dir, 0o777); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for _, dir := range []string{"/srv/lib", "/srv/lib/a/b", "/srv/made"} {
		if info, err := f.Stat(dir); err != nil || info.Mode != fs.ModeDir|0o777 {
			t.Errorf("%s: %+v, %v", dir, info, err)
		}
	}
	if info, _ := f.Stat("/srv"); info.Mode.Perm() == 0o777 {
		t.Error("the mode of a directory that was there has changed")
	}
	if err := f.MkdirAll("/srv/x/y", 0o700); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	if err := f.MkdirAll("/srv/x", 0o700); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("over a file: %v", err)
	}
}

func TestRemoveAllStaysBelow(t *testing.T) {
	t.Parallel()
	root := host(t, map[string]string{
		"var/lib/a/x/y/z": "", "var/lib/a/link": "->/etc", "var/lib/out": "->/etc", "etc/file": "kept", "var/lib/ab/file": "kept",
	})
	f := hostfs.New(root)
	for _, name := range []string{"/var/lib/a", "/var/lib/a/../ab", "/var/lib/out/file", "/etc", "/", "/var/lib/a/.."} {
		if err := f.RemoveAll(name, "/var/lib/a"); !errors.Is(err, hostfs.ErrOutside) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.RemoveAll("/etc", "/"); !errors.Is(err, hostfs.ErrOutside) {
		t.Errorf("below the root: %v", err)
	}
	if err := f.RemoveAll("/var/lib/a/missing/x", "/var/lib/a"); err != nil {
		t.Errorf("missing: %v", err)
	}
	for _, name := range []string{"/var/lib/a/x", "/var/lib/a/link"} {
		if err := f.RemoveAll(name, "/var/lib/a"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if infos, err := f.ReadDir("/var/lib/a"); err != nil || len(infos) != 0 {
		t.Errorf("left: %+v, %v", infos, err)
	}
	if data, err := f.ReadFile("/etc/file", 10); err != nil || string(data) != "kept" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestRenameRemoveChange(t *testing.T) {
	t.Parallel()
	f := hostfs.New(host(t, map[string]string{"a/x": "1", "b/y": "2", "link": "->/b/y"}))
	if err := f.Rename("/a/x", "/b/y"); err != nil {
		t.Fatal(err)
	}
	if data, _ := f.ReadFile("/link", 10); string(data) != "1" {
		t.Errorf("got %q", data)
	}
	if err := errors.Join(f.Chmod("/link", 0o604), f.Chown("/link", hostfs.Owner{UID: os.Getuid(), GID: os.Getgid()}), f.SyncDir("/b")); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat("/b/y"); err != nil || info.Mode != 0o604 {
		t.Errorf("%+v, %v", info, err)
	}
	if err := errors.Join(f.Remove("/link"), f.Remove("/a")); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove("/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := f.Stat("/b/y"); err != nil {
		t.Errorf("removing the link removed the file: %v", err)
	}
}

func TestReadDirIsSortedAndDoesNotFollow(t *testing.T) {
	t.Parallel()
	f := hostfs.New(host(t, map[string]string{"d/b": "", "d/a": "->b", "d/c/x": ""}))
	infos, err := f.ReadDir("/d")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range infos {
		got = append(got, i.Name+" "+i.Mode.Type().String())
	}
	if want := []string{"a L---------", "b ----------", "c d---------"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestFlock(t *testing.T) {
	t.Parallel()
	f := hostfs.New(host(t, map[string]string{"x": ""}))
	lock, err := f.Flock("/lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Flock("/lock"); !errors.Is(err, hostfs.ErrLocked) {
		t.Errorf("held: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := f.Flock("/lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestFree(t *testing.T) {
	t.Parallel()
	f := hostfs.New(host(t, map[string]string{"x": ""}))
	if free, err := f.Free("/x"); err != nil || free.Bytes == 0 || free.Inodes == 0 || free.ReadOnly {
		t.Errorf("%+v, %v", free, err)
	}
	if _, err := f.Free("/missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	ops := hostfs.SystemOps()
	ops.Space = func(int) (hostfs.Space, error) { return hostfs.Space{Bytes: 1}, nil }
	if free, err := hostfs.NewWithOps(f.Root(), ops).Free("/"); err != nil || free.Bytes != 1 {
		t.Errorf("%+v, %v", free, err)
	}
}

// TestDescriptorsAreClosed runs everything, successes and failures, and counts open files.
func TestDescriptorsAreClosed(t *testing.T) {
	root := host(t, map[string]string{"a/b/file": "x", "l": "->/a/b/file", "loop": "->loop"})
	f := hostfs.New(root)
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	before := count()
	for range 20 {
		_, _ = f.ReadFile("/l", 10)
		_, _ = f.ReadFile("/loop", 10)
		_, _ = f.ReadFile("/a/b", 10)
		_, _ = f.Stat("/a/b/../../a")
		_, _ = f.ReadDir("/a")
		_ = f.MkdirAll("/a/c/d", 0o700)
		_ = f.RemoveAll("/a/c", "/a")
		_ = f.WriteFileAtomic("/l", []byte("y"), hostfs.WriteOptions{Mode: 0o600})
		_, _ = f.Free("/a")
		_, _ = f.RemoveTemps("/l")
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
