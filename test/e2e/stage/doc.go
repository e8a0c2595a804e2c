// Package stage is a lab cluster with the product on it, as the end-to-end scenarios, the demonstration and the benchmarks
// need it: a receiver on the lab's bridge behind a ClusterIP Service, the chart installed by helm with the images of the
// Dockerfile, and eyes that watch the apiservers from outside.
//
// It promises that nothing it reports comes from the product's own word where the hosts can be asked: restarts are counted
// from processes, unavailability from probes, files are read from the hosts' disks.
package stage
