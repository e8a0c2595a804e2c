// Package webhookconfig writes and reads the kubeconfig that tells kube-apiserver where to send audit events.
//
// An apiserver does not start with a webhook kubeconfig that it cannot load, and it loads one with an address it cannot
// resolve without a word. So what is rendered here is checked first by the rules of client-go's clientcmd, which the
// apiserver uses, and the URL by what an apiserver on the node's network can dial. Credentials are in the values this
// package handles, and never in what they print.
package webhookconfig
