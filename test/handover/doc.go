// Package handover tries the kernel redirect of nodeagent/handover on this machine's kernel: in network namespaces of its
// own, with listeners in the place of apiservers, and with the rules that kube-proxy makes.
package handover
