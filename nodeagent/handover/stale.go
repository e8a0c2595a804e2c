package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// An apiserver that ends resets connections, and the kernel remembers such a connection for 10 s more. A client that uses the
// same port again within that time gets the remembered connection's translation, which is none: its new connection goes to
// the port that nobody listens on. (A connection that was ended by its client, or by a FIN, is forgotten as soon as the port is
// used again: linux/net/netfilter/nf_conntrack_proto_tcp.c, "Attempt to reopen a closed/aborted connection".)
//
// So the first packet of a connection that is remembered as another one is dropped and listed, the remembered connection is
// forgotten, and the packet that the client sends again, one second later, is redirected.
//
// It is the same the other way round: what the rehearsed apiserver resets when it ends is remembered as redirected, and leads
// back to its port for as long. [Redirect.Settle] ends that.

const (
	staleName  = "stale"
	staleChain = "input"
	// staleFor is how long a connection is listed at most. It is looked for every [forgetEvery].
	staleFor = 5 * time.Second
	// staleMost bounds the list. What does not fit is not dropped.
	staleMost = 4096
)

// Registers of nftables by their parts of 4 bytes each; a set's key of several values lies in consecutive ones.
const (
	word      = 4
	firstWord = unix.NFT_REG32_00
)

// size of an address in bytes.
func (f family) size() uint32 {
	if f == v6 {
		return 16
	}
	return 4
}

// staleOf lists the connections to forget, each as its packets arrive: source and port, destination and port.
func staleOf(t *nftables.Table, f family) (*nftables.Set, error) {
	key, err := nftables.ConcatSetType(addressType(f), nftables.TypeInetService, addressType(f), nftables.TypeInetService)
	if err != nil {
		return nil, fmt.Errorf("describe list of ended connections: %w", err)
	}
	return &nftables.Set{Table: t, Name: staleName, KeyType: key, Dynamic: true, HasTimeout: true, Timeout: staleFor, Size: staleMost}, nil
}

// rememberedFile has the seconds that the kernel remembers a connection that was reset, on a host that tracks connections
// (linux/Documentation/networking/nf_conntrack-sysctl.rst).
const rememberedFile = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close"

// remembered reads it, and takes the kernel's own 10 s where it cannot, and a minute at most.
func remembered() time.Duration {
	data, _ := os.ReadFile(rememberedFile)
	seconds, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 10 * time.Second
	}
	return min(time.Duration(seconds)*time.Second, time.Minute)
}

// installStale adds to tables that are in place. Where the kernel does not take it, they are left as they were.
func (k tables) installStale(plan []Routes) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("talk to nftables: %w", err)
	}
	for _, routes := range plan {
		t := tableOf(routes.Family)
		err := k.addStale(c, t, routes, func(i int, route Route) []expr.Any {
			var except *nftables.Set
			if len(route.Except) > 0 {
				except = exceptOf(t, routes.Family, i)
			}
			return k.begins(routes.Family, route, leaseOf(t), except)
		})
		if err != nil {
			return err
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("add list of ended connections: %w", err)
	}
	return nil
}

// installAfter replaces the tables by ones that redirect nothing. What the rehearsed apiserver resets when it ends is remembered with
// its translation: whoever uses the port again would be led to where it was.
func (k tables) installAfter(plan []Routes) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("talk to nftables: %w", err)
	}
	for _, routes := range plan {
		t := tableOf(routes.Family)
		c.AddTable(t) // so that there is one to delete
		c.DelTable(t)
		c.AddTable(t)
		if err := k.addStale(c, t, routes, func(_ int, route Route) []expr.Any { return k.beginsAt(route.Instead.Port()) }); err != nil {
			return err
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("replace nftables tables: %w", err)
	}
	return nil
}

// addStale adds the list, and a rule for each route, whose packets match says.
func (k tables) addStale(c *nftables.Conn, t *nftables.Table, routes Routes, match func(i int, route Route) []expr.Any) error {
	stale, err := staleOf(t, routes.Family)
	if err != nil {
		return err
	}
	if err := c.AddSet(stale, nil); err != nil {
		return fmt.Errorf("add list of ended connections: %w", err)
	}
	chain := c.AddChain(&nftables.Chain{
		Table: t, Name: staleChain, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	for i, route := range routes.Routes {
		if route.Service {
			continue // what was asked for at a Service's address arrives at the node's
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: k.staleRule(routes.Family, route, stale, match(i, route))})
	}
	return nil
}

// staleRule reads: a packet that begins a connection and matches, but belongs to one that has been answered before, is listed and
// dropped.
func (tables) staleRule(f family, r Route, stale *nftables.Set, match []expr.Any) []expr.Any {
	var rule []expr.Any
	if r.Foreign {
		rule = append(rule,
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: []byte("lo\x00")},
		)
	}
	rule = append(rule, match...)
	rule = append(rule,
		&expr.Ct{Key: expr.CtKeySTATE, Register: register},
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED), Xor: binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: binaryutil.NativeEndian.PutUint32(0)},
	)
	network, transport := expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	source, to := uint32(v4Source), uint32(v4Destination)
	if f == v6 {
		source, to = v6Source, v6Destination
	}
	part := uint32(firstWord)
	for _, load := range []expr.Payload{
		{Base: network, Offset: source, Len: f.size()},
		{Base: transport, Offset: tcpSource, Len: 2},
		{Base: network, Offset: to, Len: f.size()},
		{Base: transport, Offset: tcpDestination, Len: 2},
	} {
		load.DestRegister = part
		part += (load.Len + word - 1) / word
		rule = append(rule, &load)
	}
	return append(rule,
		&expr.Dynset{SrcRegKey: firstWord, SetName: stale.Name, SetID: stale.ID, Operation: unix.NFT_DYNSET_OP_ADD, Timeout: staleFor},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	)
}

// tuple is a connection as its packets arrive, after translation.
type tuple struct{ from, to netip.AddrPort }

// tupleOf reads an element of the list.
func tupleOf(f family, key []byte) (tuple, error) {
	size := f.size()
	if uint32(len(key)) != 2*(size+word) {
		return tuple{}, fmt.Errorf("an element of %d bytes in the list of ended connections is not understood", len(key))
	}
	end := func(b []byte) netip.AddrPort {
		a, _ := netip.AddrFromSlice(b[:size])
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[size:]))
	}
	return tuple{from: end(key), to: end(key[size+word:])}, nil
}

// forget makes the kernel forget the listed connections, and returns how many those were.
func (k tables) forget(plan []Routes) (int, error) {
	c, err := nftables.New()
	if err != nil {
		return 0, fmt.Errorf("talk to nftables: %w", err)
	}
	var tuples []tuple
	var listed []*nftables.Set
	for _, routes := range plan {
		stale, err := staleOf(tableOf(routes.Family), routes.Family)
		if err != nil {
			return 0, err
		}
		elements, err := c.GetSetElements(stale)
		if err != nil {
			return 0, fmt.Errorf("read list of ended connections: %w", err)
		}
		if len(elements) == 0 {
			continue
		}
		listed = append(listed, stale)
		for _, e := range elements {
			t, err := tupleOf(routes.Family, e.Key)
			if err != nil {
				return 0, err
			}
			tuples = append(tuples, t)
		}
	}
	if len(tuples) == 0 {
		return 0, nil
	}
	if err := untrack(tuples); err != nil {
		return 0, err
	}
	// Only now, and all at once: a connection still listed would be forgotten again, when it is a new one. What was listed
	// meanwhile is listed again when its client sends again.
	for _, stale := range listed {
		c.FlushSet(stale)
	}
	if err := c.Flush(); err != nil {
		return len(tuples), fmt.Errorf("empty list of ended connections: %w", err)
	}
	return len(tuples), nil
}

// untrack removes connections from those that the kernel tracks. It finds each by its answers, which alone are the same for a
// connection to a Service, asked for at another address than the one at which it arrives.
func untrack(tuples []tuple) error {
	c, err := conntrack.Dial(nil)
	if err != nil {
		return fmt.Errorf("talk to connection tracking: %w", err)
	}
	defer func() { _ = c.Close() }()
	for _, t := range tuples {
		flow := conntrack.NewFlow(unix.IPPROTO_TCP, 0, t.to.Addr(), t.from.Addr(), t.to.Port(), t.from.Port(), 0, 0)
		if err := c.Delete(flow); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forget the connection from %s to %s: %w", t.from, t.to, err)
		}
	}
	return nil
}
