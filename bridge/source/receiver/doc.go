// Package receiver takes EventLists from an apiserver, from its webhook backend or from an AuditSink, and passes on what an audit
// policy records.
//
// The dynamic backend of an apiserver knows no rules: it sends the contents of Secrets too. Here the policy's rules are applied as the
// apiserver's own code applies them, and what they keep back goes no further. An answer of 200 means that the sink has the events. A
// sink that is slow makes the apiserver wait, which buffers and repeats; nothing is kept here.
package receiver
