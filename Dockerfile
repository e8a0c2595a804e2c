# One image per program, from nothing: a static binary with the CA roots inside it. The binaries are built outside
# (`make build`), because there is no base image to pull and the Go toolchain is pinned by go.mod. `make images` does both.
#
#   make images                      writes dist/images/*.tar, without a registry and without a Docker daemon
#   make images push REGISTRY=…      pushes linux/amd64 and linux/arm64 under one tag

# The coordinator touches no host: it runs as an unprivileged user.
FROM scratch AS coordinator
ARG TARGETOS
ARG TARGETARCH
COPY dist/${TARGETOS}_${TARGETARCH}/coordinator /coordinator
USER 65532:65532
ENTRYPOINT ["/coordinator"]
LABEL org.opencontainers.image.title="k8s-audit-enabler-coordinator" \
      org.opencontainers.image.description="Recognises the cluster, plans each control-plane node, lets one change at a time"

# The bridge touches no host either; as a DaemonSet it reads root's logs, and the chart says as whom.
FROM scratch AS bridge
ARG TARGETOS
ARG TARGETARCH
COPY dist/${TARGETOS}_${TARGETARCH}/bridge /bridge
USER 65532:65532
ENTRYPOINT ["/bridge"]
LABEL org.opencontainers.image.title="k8s-audit-enabler-bridge" \
      org.opencontainers.image.description="Moves audit events from a log, an apiserver or an export to the sink, and loses none"

# The node agent edits root's files on the host: it runs as root.
FROM scratch AS nodeagent
ARG TARGETOS
ARG TARGETARCH
COPY dist/${TARGETOS}_${TARGETARCH}/nodeagent /nodeagent
ENTRYPOINT ["/nodeagent"]
LABEL org.opencontainers.image.title="k8s-audit-enabler-nodeagent" \
      org.opencontainers.image.description="Configures the kube-apiserver of its own node, verifies it, takes back what does not work"
