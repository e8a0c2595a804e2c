// Package aks reads the audit events of an AKS cluster out of an Event Hub, to which a diagnostic setting of the cluster sends them.
package aks
