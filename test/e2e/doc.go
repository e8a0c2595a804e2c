// Package e2e holds the end-to-end scenarios: real control planes of the lab, the chart installed by the real helm, the
// images of the Dockerfile, and a real receiver. Everything is asserted on events that arrived, on files of the hosts and
// on processes; the product's own word is only compared with these.
//
// The scenarios need root and take minutes, so they skip under -short and for other users.
package e2e
