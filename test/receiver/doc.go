// Package receiver is a real HTTP receiver of audit EventLists, for tests, demonstrations and measurements.
//
// It answers where the field's consumers answer: at /k8s_audit (Sysdig agent) and /k8s-audit (Falco's k8saudit plugin).
// It promises that what it hands out is what arrived: the decoded event, its raw bytes, the address it came from and the
// time it came at. It keeps a bounded number of bytes and says how many events it has let go of, so that a test that
// proves an absence can first prove that nothing was forgotten. It can be told to misbehave in the ways that receivers
// do: refuse connections, accept and never answer, answer 500.
package receiver
