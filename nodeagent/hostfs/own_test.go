package hostfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// TestNoLinkIsFollowedInTheAgentsOwnDirectories plants links as somebody would who can write there for a moment, and does
// everything that the agent does. The trap's target stays as it was.
func TestNoLinkIsFollowedInTheAgentsOwnDirectories(t *testing.T) {
	t.Parallel()
	const trap = hostfs.DataDir + "/r1/audit-policy.yaml"
	for name, tc := range map[string]struct {
		files map[string]string
		path  string
	}{
		"the directory is a link":             {map[string]string{hostfs.DataDir: "->/etc"}, hostfs.DataDir + "/passwd"},
		"the state directory is a link":       {map[string]string{hostfs.StateDir: "->/etc"}, hostfs.StateDir + "/passwd"},
		"a revision's directory is a link":    {map[string]string{hostfs.DataDir + "/r1": "->/etc"}, hostfs.DataDir + "/r1/passwd"},
		"a relative link":                     {map[string]string{hostfs.DataDir + "/r1": "->../../../etc"}, hostfs.DataDir + "/r1/passwd"},
		"a link to a link":                    {map[string]string{hostfs.DataDir + "/r1": "->r2", hostfs.DataDir + "/r2": "->/etc"}, hostfs.DataDir + "/r1/passwd"},
		"a file is a link":                    {map[string]string{trap: "->/etc/passwd"}, trap},
		"a file is a link within":             {map[string]string{trap: "->other", hostfs.DataDir + "/r1/other": "ours"}, trap},
		"the log is a link":                   {map[string]string{hostfs.DataDir + "/log/events.log": "->/etc/passwd"}, hostfs.DataDir + "/log/events.log"},
		"dots that lead back do not hide one": {map[string]string{hostfs.DataDir + "/r1": "->/etc"}, hostfs.DataDir + "/x/../../k8s_audit//r1/./passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.files["etc/passwd"] = "root"
			f := hostfs.New(host(t, tc.files))
			refused := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, hostfs.ErrLink) {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err := f.ReadFile(tc.path, 100)
			refused("read", err)
			_, err = f.Open(tc.path)
			refused("open", err)
			_, err = f.Stat(tc.path)
			refused("stat", err)
			_, err = f.Flock(tc.path)
			refused("lock", err)
			_, err = f.RemoveTemps(tc.path)
			refused("remove temporary files", err)
			_, err = f.PreserveFrom(tc.path)
			refused("preserve", err)
			refused("write", f.WriteFileAtomic(tc.path, []byte("ours"), hostfs.WriteOptions{Mode: 0o600}))
			refused("chmod", f.Chmod(tc.path, 0o777))
			refused("chown", f.Chown(tc.path, hostfs.Owner{UID: 1, GID: 1}))
			refused("mkdir", f.MkdirAll(tc.path+"/dir", 0o700))
			if data, err := f.ReadFile("/etc/passwd", 100); err != nil || string(data) != "root" {
				t.Errorf("the target is now %q, %v", data, err)
			}
			if infos, err := f.ReadDir("/etc"); err != nil || len(infos) != 1 {
				t.Errorf("beside the target: %+v, %v", infos, err)
			}
		})
	}
}

func TestALinkIsRemovedAsItself(t *testing.T) {
	t.Parallel()
	f := hostfs.New(host(t, map[string]string{hostfs.DataDir + "/r1": "->/etc", hostfs.DataDir + "/r2/x": "->/etc/passwd", "etc/passwd": "root"}))
	if err := errors.Join(f.RemoveAll(hostfs.DataDir+"/r1", hostfs.DataDir), f.RemoveAll(hostfs.DataDir+"/r2", hostfs.DataDir)); err != nil {
		t.Error(err)
	}
	if infos, err := f.ReadDir(hostfs.DataDir); err != nil || len(infos) != 0 {
		t.Errorf("left: %+v, %v", infos, err)
	}
	if data, err := f.ReadFile("/etc/passwd", 100); err != nil || string(data) != "root" {
		t.Errorf("the target is now %q, %v", data, err)
	}
	trapped := hostfs.New(host(t, map[string]string{hostfs.DataDir: "->/etc", "etc/r1/file": "kept"}))
	if err := trapped.RemoveAll(hostfs.DataDir+"/r1", hostfs.DataDir); !errors.Is(err, hostfs.ErrLink) {
		t.Errorf("below a directory that is a link: %v", err)
	}
}

// TestAnotherPlaceForVarLibIsFollowed: hosts keep /var or /var/lib on another disk by a link.
func TestAnotherPlaceForVarLibIsFollowed(t *testing.T) {
	t.Parallel()
	f := hostfs.New(host(t, map[string]string{"data/lib/x": "", "var/lib": "->/data/lib"}))
	if err := f.MkdirAll(hostfs.DataDir+"/r1", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFileAtomic(hostfs.DataDir+"/r1/file", []byte("ours"), hostfs.WriteOptions{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if data, err := f.ReadFile("/data/lib/k8s_audit/r1/file", 100); err != nil || string(data) != "ours" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestAHardLinkToAFileKeepsItsContent: the name gets a new file, the old one stays what it was for its other names.
func TestAHardLinkToAFileKeepsItsContent(t *testing.T) {
	t.Parallel()
	root := host(t, map[string]string{"etc/passwd": "root", hostfs.DataDir + "/r1/x": ""})
	const name = hostfs.DataDir + "/r1/audit-policy.yaml"
	if err := os.Link(filepath.Join(root, "etc/passwd"), filepath.Join(root, name)); err != nil {
		t.Fatal(err)
	}
	f := hostfs.New(root)
	if err := f.WriteFileAtomic(name, []byte("ours"), hostfs.WriteOptions{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if data, err := f.ReadFile("/etc/passwd", 100); err != nil || string(data) != "root" {
		t.Errorf("the other name's content is now %q, %v", data, err)
	}
	if info, err := f.Stat("/etc/passwd"); err != nil || info.Mode.Perm() != 0o644 {
		t.Errorf("the other name's mode is now %v, %v", info.Mode, err)
	}
}

// TestWhatIsMountedInATreeIsNotRemoved: a bind mount has its source's device number, and its source's files.
func TestWhatIsMountedInATreeIsNotRemoved(t *testing.T) {
	t.Parallel()
	root := host(t, map[string]string{"etc/passwd": "root", hostfs.DataDir + "/log/sub/x": ""})
	at := filepath.Join(root, hostfs.DataDir, "log/sub")
	if err := unix.Mount(filepath.Join(root, "etc"), at, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	f := hostfs.New(root)
	if err := f.RemoveAll(hostfs.DataDir+"/log", hostfs.DataDir); !errors.Is(err, hostfs.ErrMounted) {
		t.Errorf("error %v", err)
	}
	if data, err := f.ReadFile("/etc/passwd", 100); err != nil || string(data) != "root" {
		t.Errorf("what is mounted there is now %q, %v", data, err)
	}
}

func TestPrivate(t *testing.T) {
	t.Parallel()
	f := hostfs.New(host(t, map[string]string{"var/lib/a/x": "", "var/lib/link": "->/var/lib/a"}))
	own := hostfs.Owner{UID: os.Geteuid(), GID: os.Getegid()}
	if err := f.Chmod("/var/lib/a", 0o777); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := f.Chown("/var/lib/a", hostfs.Owner{UID: 65534, GID: 65534}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Private("/var/lib/a", own, 0o700); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat("/var/lib/a"); err != nil || info.Mode.Perm() != 0o700 || info.UID != own.UID || info.GID != own.GID {
		t.Errorf("%+v, %v", info, err)
	}
	for _, name := range []string{"/var/lib/a/x", "/var/lib/link"} {
		if err := f.Private(name, own, 0o700); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
