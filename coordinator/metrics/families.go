package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// prefix is that of every metric here; those of the bridge go on with bridge_.
const prefix = "k8s_audit_enabler_"

// family is one metric: its name after the prefix, what it says, and its labels.
type family struct {
	name, help string
	labels     []string
}

func families() []family {
	return []family{
		{"build_info", "1; which coordinator this is.", []string{"version"}},
		{"distribution_info", "1; what the cluster was recognised as, and how its events leave the apiservers.", []string{"distribution", "kubernetes_version", "strategy", "backend"}},
		{"condition", "1 for the status that a condition of the cluster has.", []string{"condition", "status"}},
		{"reason_info", "1; why the cluster is ready, or is not. The runbook has an entry for each reason.", []string{"reason"}},
		{"enabled", "1 where the configuration wants audit enabled.", nil},
		{"paused", "1 where nothing is changed, because the configuration or a request says so.", nil},
		{"nodes", "Control-plane nodes that have a plan.", nil},
		{"permits", "Nodes that may change now: never more than one.", nil},
		{"sink_known", "1 where the sink has an address that an apiserver can post to.", nil},
		{"reconciled_timestamp_seconds", "When the coordinator last looked at the cluster and did what there was to do. It looks at least once an hour.", nil},
		{"node_phase", "1 for the phase that a node is in.", []string{"node", "phase"}},
		{"node_reason_info", "1; why the node is in its phase. The runbook has an entry for each reason.", []string{"node", "reason"}},
		{"node_condition", "1 for the status that a condition of a node has.", []string{"node", "condition", "status"}},
		{"node_up_to_date", "1 where what is live on a node is what its plan wants, which may be nothing.", []string{"node"}},
		{"node_permit", "1 where a node may change now.", []string{"node"}},
		{"node_restarts_total", "Restarts of a node's apiserver that changes have caused, repairs and rollbacks included.", []string{"node"}},
		{"node_unavailable_seconds", "How long the last change kept a node's apiserver from being ready.", []string{"node"}},
		{"node_delivery_changed_timestamp_seconds", "Since when the node's AuditFlowing says what it says, by the node's clock.", []string{"node"}},
	}
}

func (f *family) desc() *prometheus.Desc {
	return prometheus.NewDesc(prefix+f.name, f.help, f.labels, nil)
}

// kind follows from the name, as Prometheus wants it.
func kind(name string) prometheus.ValueType {
	if strings.HasSuffix(name, "_total") {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}
