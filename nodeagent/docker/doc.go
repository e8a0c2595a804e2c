// Package docker is a narrow client of the Docker Engine's API: the few calls that it takes to look at one container of the host and to
// create it anew.
//
// It exists beside the Engine's own client library for two reasons. That one speaks no version of the API before 1.40, and the clusters
// that run their apiserver in Docker have Engines back to 17.03, with 1.26; this one speaks whichever version the Engine has. And that
// one decodes a container into its own types, which drop what another version of the Engine has written there; here the configuration
// stays the JSON that the Engine gave, so that a container created from it is the same but for what was changed on purpose. It also
// leaves out tracing and its dependencies, which an agent on every control-plane node need not hold in memory.
package docker
