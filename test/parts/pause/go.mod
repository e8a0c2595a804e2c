module k8s-audit-enabler.io/test/parts/pause

go 1.26.0
