package handover

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const list4 = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:192B 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0100007F:403B 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   3: 0100007F:192B 0500000A:C350 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0 20 4 30 10 -1
   4: 0100007F:0050 0100007F:C350 06 00000000:00000000 00:00000000 00000000     0        0 5 1 0 20 4 30 10 -1
`

const list6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000100007F:192B 0000000000000000FFFF00000100007F:C351 03 00000000:00000000 00:00000000 00000000     0        0 6 1 0 20 4 30 10 -1
   1: 00000000000000000000000001000000:403B 00000000000000000000000001000000:C352 01 00000000:00000000 00:00000000 00000000     0        0 7 1 0 20 4 30 10 -1
`

func TestLandings(t *testing.T) {
	t.Parallel()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the lists are of a little-endian machine")
	}
	tests := map[string]struct {
		list, client string
		want         []uint16
	}{
		"at the other end, not the client's own":        {list4, "127.0.0.1:50000", []uint16{16443}},
		"another client with the same port":             {list4, "10.0.0.5:50000", []uint16{6443}},
		"nobody":                                        {list4, "127.0.0.1:50001", nil},
		"IPv4 at a listener for both, still being made": {list6, "127.0.0.1:50001", []uint16{6443}},
		"IPv6": {list6, "[::1]:50002", []uint16{16443}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := landings(strings.NewReader(tt.list), netip.MustParseAddrPort(tt.client))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("landings = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAListThatIsNotUnderstoodIsAnError(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"0: x:1 0100007F:C350 01", "0: 0100007F:1 zz:C350 01", "0: 0100007F:192B 01:C350 01", "0: 0100007F 0100007F 01"} {
		if _, err := landings(strings.NewReader("heading\n"+line+"\n"), netip.MustParseAddrPort("127.0.0.1:50000")); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
}

func TestWhereARealConnectionLands(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	to := netip.MustParseAddrPort(l.Addr().String())
	if err := lands(t.Context(), net.Dialer{}, to, to.Port()); err != nil {
		t.Error(err)
	}
	if err := lands(t.Context(), net.Dialer{}, to, to.Port()+1); err == nil || !strings.Contains(err.Error(), "was taken on port") {
		t.Errorf("looked for at another port: %v", err)
	}
}
