// Package bench measures the product on a real control plane, from outside: processes, probes, the receiver's byte count,
// the image archives. Each measurement returns figures; what they are compared with is in them.
//
// Ratios compare what was measured in the same run, in turns, on the same cluster, so that a slow machine does not matter.
package bench
