package wire

import "regexp"

// WebhookFileDir is the one directory of the host that the operator of OpenShift 4 mounts into its apiservers and that is not the operator's
// to write (openshift/cluster-kube-apiserver-operator, bindata/assets/kube-apiserver/pod.yaml, volume audit-dir). An init container changes
// the mode of all that is in it, so that a file lies there itself and in no directory of its own.
const WebhookFileDir = "/var/log/kube-apiserver"

var webhookFile = regexp.MustCompile(`^` + WebhookFileDir + `/k8s-audit-enabler-(r[0-9a-f]{12}(?:-[0-9a-f]{8})?)[.]yaml$`)

// WebhookFile is the path of the webhook's kubeconfig of a revision, where the operator of OpenShift 4 tells the apiservers of it. A file is
// never changed: another content is another revision, and so another path, which has the operator roll out a revision of its own.
func WebhookFile(revision string) string {
	return WebhookFileDir + "/k8s-audit-enabler-" + revision + ".yaml"
}

// WebhookFileRevision is the revision of a path that [WebhookFile] has made; ok is false for any other.
func WebhookFileRevision(path string) (revision string, ok bool) {
	found := webhookFile.FindStringSubmatch(path)
	if found == nil {
		return "", false
	}
	return found[1], true
}
