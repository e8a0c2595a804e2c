package apiserver

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Arg is one flag of an argument list.
type Arg struct {
	// Name has no leading dashes, and dashes where underscores may have been.
	Name string
	// Value is empty for a flag without one, which a boolean flag takes as true.
	Value string
	// HasValue tells "--flag=" from "--flag".
	HasValue bool

	index int  // of the word that holds the name
	split bool // the value is a word of its own
}

// Args are the flags of an argument list in their order.
type Args []Arg

// ParseArgs reads the words after the binary: "--a=b", "--a b", "--a", and the same with one dash. A word that does not
// start with a dash after a flag without "=" is that flag's value: kube-apiserver takes no other words. A word that is
// neither is left out.
func ParseArgs(words []string) Args {
	var args Args
	for i := 0; i < len(words); i++ {
		if words[i] == "--" {
			break
		}
		if !isFlag(words[i]) {
			continue
		}
		name, value, has := strings.Cut(flagText(words[i]), "=")
		arg := Arg{Name: strings.ReplaceAll(name, "_", "-"), Value: value, HasValue: has, index: i}
		if !has && i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
			i++
			arg.Value, arg.HasValue, arg.split = words[i], true, true
		}
		args = append(args, arg)
	}
	return args
}

// isFlag reports a word that a flag parser takes for one: one or two dashes and a name.
func isFlag(word string) bool {
	name := flagText(word)
	return name != word && name != "" && !strings.ContainsAny(name[:1], "-_=")
}

// flagText is a flag's word without its dashes.
func flagText(word string) string {
	return strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
}

// Lookup returns a flag's value: the last one where the flag is repeated, as for every flag that holds one value, and
// "true" for a flag without a value.
func (a Args) Lookup(name string) (string, bool) {
	arg, ok := a.last(name)
	if !ok {
		return "", false
	}
	return arg.text(), true
}

// text is the flag's value, "true" for one without.
func (a Arg) text() string {
	if !a.HasValue {
		return "true"
	}
	return a.Value
}

func (a Args) last(name string) (Arg, bool) {
	for i := len(a) - 1; i >= 0; i-- {
		if a[i].Name == name {
			return a[i], true
		}
	}
	return Arg{}, false
}

// All returns the values of every occurrence of a flag, in order.
func (a Args) All(name string) []string {
	var values []string
	for _, arg := range a {
		if arg.Name == name {
			values = append(values, arg.Value)
		}
	}
	return values
}

// defaultSecurePort is kube-apiserver's own default of --secure-port.
const defaultSecurePort = 6443

// SecurePort is the port that the apiserver serves on: --secure-port, or 6443 where it is missing or no port number.
func (a Args) SecurePort() int {
	value, _ := a.Lookup("secure-port")
	if port, err := strconv.Atoi(value); err == nil && port > 0 && port < 1<<16 {
		return port
	}
	return defaultSecurePort
}

// BindAddress is --bind-address, or "0.0.0.0", the apiserver's default before 1.16; later versions' "::" includes it.
func (a Args) BindAddress() string {
	if value, ok := a.Lookup("bind-address"); ok && value != "" {
		return value
	}
	return "0.0.0.0"
}

// AdvertiseAddress is --advertise-address, or empty where the apiserver finds it itself.
func (a Args) AdvertiseAddress() string {
	value, _ := a.Lookup("advertise-address")
	return value
}

const (
	// defaultServiceRange is kube-apiserver's own default of --service-cluster-ip-range.
	defaultServiceRange = "10.0.0.0/24"
	// servicePort is that of the `kubernetes` Service, whatever the apiserver's own is.
	servicePort = 443
)

// ServiceAddresses are where the `kubernetes` Service answers, as host:port: the first address after that of the first range,
// which the apiserver takes for itself (k8s.io/kubernetes pkg/controlplane). Also with two ranges that Service has one address;
// the first one of the second range belongs to whoever asks for it. A range that is not understood gives none.
func (a Args) ServiceAddresses() []string {
	value, _ := a.Lookup("service-cluster-ip-range")
	if value == "" {
		value = defaultServiceRange
	}
	first, _, _ := strings.Cut(value, ",")
	prefix, err := netip.ParsePrefix(strings.TrimSpace(first))
	if err != nil {
		return nil
	}
	address := prefix.Masked().Addr().Next()
	if !prefix.Contains(address) {
		return nil
	}
	return []string{netip.AddrPortFrom(address, servicePort).String()}
}

// WithFlag returns the words with a flag set: its last occurrence, which counts, gets the value; one that is not there comes last.
func WithFlag(words []string, f Flag) []string {
	text := "--" + f.Name + "=" + f.Value
	arg, there := ParseArgs(words).last(f.Name)
	if !there {
		return append(slices.Clone(words), text)
	}
	end := arg.index + 1
	if arg.split {
		end++
	}
	return slices.Replace(slices.Clone(words), arg.index, end, text)
}
