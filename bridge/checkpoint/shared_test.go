package checkpoint_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/internal/logging"
)

// configMap is one, in an API server that can be away.
type configMap struct {
	object corev1.ConfigMap
	writes int
	away   bool
}

func (c *configMap) Get(context.Context, string, metav1.GetOptions) (*corev1.ConfigMap, error) {
	if c.away {
		return nil, errors.New("away")
	}
	return c.object.DeepCopy(), nil
}

func (c *configMap) Patch(_ context.Context, _ string, _ types.PatchType, data []byte, _ metav1.PatchOptions, _ ...string) (*corev1.ConfigMap, error) {
	if c.away {
		return nil, errors.New("away")
	}
	c.writes++
	return &c.object, json.Unmarshal(data, &c.object)
}

func (c *configMap) keeper(name string) *checkpoint.Keeper {
	return checkpoint.NewShared(c, "positions", name, name, metrics.New(), logging.Discard())
}

func (c *configMap) load(t *testing.T, name string) (position, bool) {
	t.Helper()
	var p position
	found, err := c.keeper(name).Load(&p)
	if err != nil {
		t.Fatal(err)
	}
	return p, found
}

func TestPositionsOfSeveralLogsShareAConfigMap(t *testing.T) {
	t.Parallel()
	c := &configMap{}
	a, b := c.keeper("a"), c.keeper("b")
	a.Advance(position{1}, 10)
	b.Advance(position{2}, 10)
	if _, found := c.load(t, "a"); found {
		t.Error("saved before it was time")
	}
	if !a.Save() || !b.Save() {
		t.Error("not saved")
	}
	if p, _ := c.load(t, "a"); p.Offset != 1 {
		t.Errorf("position %v", p)
	}
	if p, _ := c.load(t, "b"); p.Offset != 2 {
		t.Errorf("position %v", p)
	}
}

func TestAnAPIServerIsWrittenToAtIntervalsOnly(t *testing.T) {
	t.Parallel()
	c := &configMap{}
	k := c.keeper("a")
	for n := range 100 {
		k.Advance(position{n}, checkpoint.Unsaved)
	}
	k.Save()
	k.Save()
	if p, _ := c.load(t, "a"); c.writes != 1 || p.Offset != 99 {
		t.Errorf("%d writes, position %v", c.writes, p)
	}
}

func TestAnAPIServerThatIsAwayIsNoFreshStart(t *testing.T) {
	t.Parallel()
	c := &configMap{away: true}
	k := c.keeper("a")
	var p position
	if found, err := k.Load(&p); err == nil || found || errors.Is(err, checkpoint.ErrUnreadable) {
		t.Errorf("found %t, error %v", found, err)
	}
	k.Advance(position{3}, 1)
	if k.Save() || !k.Failing() {
		t.Error("an API server that is away is not said")
	}
	c.away = false
	if !k.Save() || k.Failing() {
		t.Error("it is not saved once the API server is back")
	}
	if p, _ := c.load(t, "a"); p.Offset != 3 {
		t.Errorf("position %v", p)
	}
}
