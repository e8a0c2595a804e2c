package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// TableName names the tables, one of each family: tables for both at once cannot translate addresses before Linux 5.2.
	TableName = "k8s_audit_enabler"
	leaseName = "lease"
	// priority is just ahead of where kube-proxy and container networks translate destinations.
	priority nftables.ChainPriority = -101
)

// Offsets in the headers of packets.
const (
	v4Source, v4Destination             = 12, 16
	v6Source, v6Destination             = 8, 24
	tcpSource, tcpDestination, tcpFlags = 0, 2, 13
	localAddress                        = 2 // RTN_LOCAL of linux/rtnetlink.h
)

// Flags of a TCP segment: the first one of a connection has SYN and no other of these.
const (
	tcpFIN, tcpSYN, tcpRST, tcpACK = 1, 2, 4, 16
)

// Registers of nftables, 16 bytes each.
const (
	register       = 1
	secondRegister = 2
)

// tables is the kernel's side of a redirect.
type tables struct {
	mark, mask uint32
	lease      time.Duration
}

func tableOf(f family) *nftables.Table {
	t := &nftables.Table{Name: TableName, Family: nftables.TableFamilyIPv4}
	if f == v6 {
		t.Family = nftables.TableFamilyIPv6
	}
	return t
}

func leaseOf(t *nftables.Table) *nftables.Set {
	return &nftables.Set{Table: t, Name: leaseName, KeyType: nftables.TypeInetService, HasTimeout: true}
}

// exceptOf holds the addresses that a route leaves out.
func exceptOf(t *nftables.Table, f family, route int) *nftables.Set {
	return &nftables.Set{Table: t, Name: fmt.Sprintf("except%d", route), KeyType: addressType(f)}
}

func addressType(f family) nftables.SetDatatype {
	if f == v6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

// install puts the tables in place, lease included, all at once. A table of an earlier life is replaced.
func (k tables) install(plan []Routes) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("talk to nftables: %w", err)
	}
	for _, routes := range plan {
		if err := k.add(c, routes); err != nil {
			return fmt.Errorf("build IPv%d table: %w", routes.Family, err)
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("add nftables tables: %w", err)
	}
	return nil
}

func (k tables) add(c *nftables.Conn, routes Routes) error {
	t := tableOf(routes.Family)
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	lease := leaseOf(t)
	if err := c.AddSet(lease, k.elements(routes)); err != nil {
		return err
	}
	hooks := []struct {
		name string
		hook *nftables.ChainHook
	}{{"prerouting", nftables.ChainHookPrerouting}, {"output", nftables.ChainHookOutput}}
	excepts := make([]*nftables.Set, len(routes.Routes))
	for i, route := range routes.Routes {
		if len(route.Except) == 0 {
			continue
		}
		excepts[i] = exceptOf(t, routes.Family, i)
		var elements []nftables.SetElement
		for _, a := range route.Except {
			elements = append(elements, nftables.SetElement{Key: a.AsSlice()})
		}
		if err := c.AddSet(excepts[i], elements); err != nil {
			return err
		}
	}
	for _, h := range hooks {
		chain := c.AddChain(&nftables.Chain{
			Table: t, Name: h.name, Type: nftables.ChainTypeNAT, Hooknum: h.hook, Priority: nftables.ChainPriorityRef(priority),
		})
		for i, route := range routes.Routes {
			if route.Foreign && h.hook == nftables.ChainHookOutput {
				continue // what it sends through the loopback has passed this chain, and is not looked at again
			}
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: k.rule(routes.Family, route, lease, excepts[i])})
		}
	}
	return nil
}

func (k tables) elements(routes Routes) []nftables.SetElement {
	var elements []nftables.SetElement
	for _, p := range routes.Ports() {
		elements = append(elements, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, p), Timeout: k.lease})
	}
	return elements
}

// rule reads: a packet that begins a connection to this route goes there instead.
func (k tables) rule(f family, r Route, lease, except *nftables.Set) []expr.Any {
	return append(append(k.begins(f, r, lease, except), &expr.Counter{}), instead(f, r.Instead)...)
}

// begins reads: not our own packets; a connection's first packet to this port, while the lease holds, and to this address.
func (k tables) begins(f family, r Route, lease, except *nftables.Set) []expr.Any {
	match := append([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register},
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(k.mask), Xor: binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: binaryutil.NativeEndian.PutUint32(k.mark)},
	}, k.beginsAt(r.To.Port())...)
	match = append(match,
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: tcpDestination, Len: 2},
		&expr.Lookup{SourceRegister: register, SetName: lease.Name, SetID: lease.ID},
	)
	return append(match, destination(f, r.To.Addr(), except)...)
}

// beginsAt reads: the first packet of a TCP connection to a port. A host that has not tracked connections until now takes the next
// packet of one for its first.
func (tables) beginsAt(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: tcpDestination, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlags, Len: 1},
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{tcpFIN | tcpSYN | tcpRST | tcpACK}, Xor: []byte{0},
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{tcpSYN}},
	}
}

// destination matches one address, or every local one.
func destination(f family, to netip.Addr, except *nftables.Set) []expr.Any {
	load := &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: v4Destination, Len: 4}
	if f == v6 {
		load.Offset, load.Len = v6Destination, 16
	}
	if to.IsValid() {
		return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: to.AsSlice()}}
	}
	var match []expr.Any
	if except != nil {
		match = append(match, load, &expr.Lookup{SourceRegister: register, SetName: except.Name, SetID: except.ID, Invert: true})
	}
	return append(match,
		&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.NativeEndian.PutUint32(localAddress)},
	)
}

// instead translates the destination.
func instead(f family, to netip.AddrPort) []expr.Any {
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegProtoMin: secondRegister}
	if f == v6 {
		nat.Family = unix.NFPROTO_IPV6
	}
	var exprs []expr.Any
	if to.Addr().IsValid() {
		nat.RegAddrMin = register
		exprs = append(exprs, &expr.Immediate{Register: register, Data: to.Addr().AsSlice()})
	}
	port := binary.BigEndian.AppendUint16(nil, to.Port())
	return append(exprs, &expr.Immediate{Register: secondRegister, Data: port}, nat)
}

// renew makes the lease whole again. Adding an element that is there does not touch its time-out, and deleting one that has
// just run out fails; emptying the set and filling it, in one transaction, is never seen half done.
func (k tables) renew(plan []Routes) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("talk to nftables: %w", err)
	}
	for _, routes := range plan {
		lease := leaseOf(tableOf(routes.Family))
		c.FlushSet(lease)
		if err := c.SetAddElements(lease, k.elements(routes)); err != nil {
			return fmt.Errorf("renew lease: %w", err)
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	return nil
}

// suspend ends the lease; it can be renewed.
func (k tables) suspend(plan []Routes) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("talk to nftables: %w", err)
	}
	for _, routes := range plan {
		c.FlushSet(leaseOf(tableOf(routes.Family)))
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("end lease: %w", err)
	}
	return nil
}

// errNoTables says that this kernel has no nftables, or that this process may not use them.
var errNoTables = errors.New("nftables cannot be read")

// remove takes the tables away, whoever put them there.
func (k tables) remove() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoTables, err)
	}
	for _, f := range families {
		want := tableOf(f)
		found, err := c.ListTablesOfFamily(want.Family)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoTables, err)
		}
		for _, t := range found {
			if t.Name == want.Name {
				c.DelTable(want)
			}
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("delete nftables tables: %w", err)
	}
	return nil
}
