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

func TestAFlagIsSetWhereItCounts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ words, want []string }{
		"it is not there":              {[]string{"kube-apiserver", "--a=1"}, []string{"kube-apiserver", "--a=1", "--f=v"}},
		"it has another value":         {[]string{"kube-apiserver", "--f=1", "--a=1"}, []string{"kube-apiserver", "--f=v", "--a=1"}},
		"its value is a word":          {[]string{"kube-apiserver", "--f", "1", "--a=1"}, []string{"kube-apiserver", "--f=v", "--a=1"}},
		"it is there twice":            {[]string{"--f=1", "--f=2"}, []string{"--f=1", "--f=v"}},
		"it is written with one dash":  {[]string{"-f=1"}, []string{"--f=v"}},
		"there are no words":           {nil, []string{"--f=v"}},
		"it is a word before another.": {[]string{"--f", "--a"}, []string{"--f=v", "--a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(c.words)
			got := WithFlag(c.words, Flag{Name: "f", Value: "v"})
			if !slices.Equal(got, c.want) || !slices.Equal(before, c.words) {
				t.Errorf("%q, want %q; the words were %q, and are %q", got, c.want, before, c.words)
			}
		})
	}
}
