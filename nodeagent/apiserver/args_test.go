package apiserver

import (
	"slices"
	"testing"
)

func TestServiceAddresses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want []string
	}{
		"kubeadm's range":                     {[]string{"--service-cluster-ip-range=10.96.0.0/12"}, []string{"10.96.0.1:443"}},
		"no range is the apiserver's default": {nil, []string{"10.0.0.1:443"}},
		"IPv6":                                {[]string{"--service-cluster-ip-range=fd00:96::/108"}, []string{"[fd00:96::1]:443"}},
		"two ranges, and the Service is in the first": {[]string{"--service-cluster-ip-range=fd00:96::/108,10.96.0.0/16"}, []string{"[fd00:96::1]:443"}},
		"an address within the range":                 {[]string{"--service-cluster-ip-range", "10.96.3.4/12"}, []string{"10.96.0.1:443"}},
		"the last of two flags":                       {[]string{"--service-cluster-ip-range=10.1.0.0/16", "--service-cluster-ip-range=10.2.0.0/16"}, []string{"10.2.0.1:443"}},
		"no room":                                     {[]string{"--service-cluster-ip-range=10.96.0.0/32"}, nil},
		"no range at all":                             {[]string{"--service-cluster-ip-range=everything"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ParseArgs(tt.args).ServiceAddresses(); !slices.Equal(got, tt.want) {
				t.Errorf("ServiceAddresses = %v, want %v", got, tt.want)
			}
		})
	}
}
