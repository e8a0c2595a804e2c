package strategy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
)

// Keys of the Secret with the sink's credentials.
const (
	keyToken = "token"
	keyCert  = "tls.crt"
	keyKey   = "tls.key"
	keyCA    = "ca.crt"
)

// Credentials are what the Secret of a plan holds. They print and log as nothing.
type Credentials struct {
	token, cert, key, ca []byte
}

// CredentialsFrom takes what is known out of a Secret's data.
func CredentialsFrom(data map[string][]byte) Credentials {
	return Credentials{token: data[keyToken], cert: data[keyCert], key: data[keyKey], ca: data[keyCA]}
}

// Empty reports that there is nothing in it.
func (c Credentials) Empty() bool {
	return len(c.token)+len(c.cert)+len(c.key)+len(c.ca) == 0
}

// String hides the credentials.
func (Credentials) String() string { return "[redacted]" }

// GoString hides the credentials.
func (Credentials) GoString() string { return "strategy.Credentials{[redacted]}" }

// LogValue hides the credentials.
func (Credentials) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// EffectiveRevision is the plan's revision, and where credentials are used, a hash of both behind it: files that hold
// other credentials are other files, although the plan, which only names the Secret, is the same.
func EffectiveRevision(planRevision string, c Credentials) string {
	if c.Empty() {
		return planRevision
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(planRevision), c.token, c.cert, c.key, c.ca} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	return planRevision + "-" + hex.EncodeToString(h.Sum(nil)[:4])
}
