package aks

import (
	"encoding/json"
	"fmt"
	"strings"
)

// message is what Azure Monitor puts into an Event Hub.
type message struct {
	Records []record `json:"records"`
	record
}

type record struct {
	Category   string `json:"category"`
	Properties struct {
		Log string `json:"log"`
	} `json:"properties"`
}

// Logs are the audit events in a message, each as Azure has it, and the number of records of other categories, which are left out. A
// message is a list of records, or a single record.
func Logs(raw []byte) (logs [][]byte, others int, err error) {
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, 0, fmt.Errorf("decode Event Hub message: %w", err)
	}
	if m.Records == nil && m.Category != "" {
		m.Records = []record{m.record}
	}
	for _, r := range m.Records {
		switch {
		case !strings.EqualFold(r.Category, "kube-audit") && !strings.EqualFold(r.Category, "kube-audit-admin"):
			others++
		default:
			logs = append(logs, []byte(r.Properties.Log))
		}
	}
	return logs, others, nil
}
